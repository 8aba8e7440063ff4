"""Idempotency keys: the same request is done once, however often and however close together it comes."""

from __future__ import annotations

import pytest

from app.database import Database
from app.errors import IdempotencyKeyReusedError
from app.repositories import idempotency, users
from app.tables import now
from tests.app.test_database import run_at_once


def test_an_answer_is_found_again_under_its_key(database: Database) -> None:
    with database.write() as session:
        assert idempotency.find(session, "t", "key") is None
        idempotency.remember(session, "t", "key", "f" * 64, 202, {"job": None, "added": 3})
    with database.read() as session:
        found = idempotency.find(session, "t", "key")
    assert found is not None
    assert (found.fingerprint, found.status_code, found.body) == ("f" * 64, 202, {"job": None, "added": 3})


def test_a_key_is_taken_once(database: Database) -> None:
    with database.write() as session:
        idempotency.remember(session, "t", "key", "a", 202, {})
        with pytest.raises(IdempotencyKeyReusedError, match="'key'"):
            idempotency.remember(session, "t", "key", "b", 202, {})


def test_a_key_is_forgotten_after_its_time_and_may_be_used_anew(database: Database) -> None:
    with database.write() as session:
        old = idempotency.remember(session, "t", "key", "a", 202, {})
        old.created_at = now() - idempotency.KEPT_FOR
    with database.write() as session:
        assert idempotency.find(session, "t", "key") is None
        idempotency.remember(session, "t", "key", "b", 202, {})
    with database.read() as session:
        found = idempotency.find(session, "t", "key")
        assert found is not None
        assert found.fingerprint == "b"


def test_requests_with_one_key_at_once_are_done_once(database: Database) -> None:
    def request() -> None:
        with database.write() as session:
            if idempotency.find(session, "t", "key") is None:
                user = users.ensure_user(session, "t", "u", None)
                user.profile += "x"
                idempotency.remember(session, "t", "key", "f", 202, {})

    run_at_once(*[request] * 4)
    with database.read() as session:
        assert users.get_user(session, "t", "u").profile == "x"
