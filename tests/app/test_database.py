"""The database: transactions, upgrades, errors."""

from __future__ import annotations

from app.database import Database
from tests.support.servers import RedisServer


def test_a_migrated_database_answers_a_ping(database: Database) -> None:
    database.ping()


def test_r(redis_server: RedisServer) -> None:
    assert redis_server.running
