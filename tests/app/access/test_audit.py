"""The audit log and the write it tells of are there together, or not at all."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.access import audit
from app.access.audit import Deed
from app.database import Database
from app.repositories import audit as entries
from app.repositories import users
from app.tables import AuditEntry
from tests.support.clocks import clock_off_by

DEED = Deed("t", "key_1", "POST /there", "u", "r")


def all_entries(database: Database) -> list[AuditEntry]:
    with database.read() as session:
        return entries.page_entries(session, "t", None, 10).items


def write(database: Database, deed: Deed = DEED) -> None:
    with audit.noted(database, deed) as session:
        users.ensure_user(session, "t", "u", None)
        audit.done(session, deed)


def test_a_write_whose_entry_cannot_be_written_is_not_done(database: Database) -> None:
    with database.write() as session:
        session.connection().execute(text("DROP TABLE audit_entries"))
    with pytest.raises(DBAPIError):
        write(database)
    with database.read() as session:
        assert users.page_users(session, "t", None, 5).items == []


def test_a_write_that_breaks_after_its_entry_leaves_the_refusal_alone(database: Database) -> None:
    def broken() -> None:
        with audit.noted(database, DEED) as session:
            users.ensure_user(session, "t", "u", None)
            audit.done(session, DEED)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert [entry.outcome for entry in all_entries(database)] == ["failed"]
    with database.read() as session:
        assert users.page_users(session, "t", None, 5).items == []


def test_an_entry_has_the_time_of_the_database(postgres_url: str) -> None:
    database = Database(postgres_url)
    with clock_off_by(hours=5):
        write(database)
    write(database)
    second, first = all_entries(database)
    assert abs((second.at - first.at).total_seconds()) < 3600
    database.dispose()
