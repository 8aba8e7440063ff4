"""What an answer needs to know of its user, asked for in one question."""

from __future__ import annotations

import pytest

from app.database import Database
from app.errors import UserNotFoundError
from app.repositories import users, versions
from app.repositories.answering import ActiveVersion, Known, known
from tests.support.records import add_user, version


def test_the_active_version_is_the_one_pointed_at(database: Database) -> None:
    with database.write() as session:
        add_user(session)
        old, new = (versions.add_version(session, version(number)) for number in (1, 2))
        user = users.get_user(session, "t", "u")
        assert known(session, "t", "u").active is None
        for chosen in (new, old, None, new):
            versions.activate(session, user, chosen.id if chosen else None)
            active = known(session, "t", "u").active
            assert (active and active.id) == (chosen and chosen.id)
    with database.read() as session:
        assert known(session, "t", "u").active == ActiveVersion(new.id, new.path, False, ())


def test_what_answering_looks_at_comes_with_it(database: Database) -> None:
    with database.write() as session:
        user = users.ensure_user(session, "t", "u", "a cook")
        kept = versions.add_version(session, version(with_memory=True))
        versions.mark_deleted_sample(session, "t", "u", [kept.id], "digest")
        versions.activate(session, user, kept.id)
    with database.read() as session:
        assert known(session, "t", "u") == Known(
            "t", "u", "a cook", ActiveVersion(kept.id, kept.path, True, ("digest",))
        )


def test_a_version_of_the_same_content_of_somebody_else_is_not_theirs(database: Database) -> None:
    with database.write() as session:
        for user_id in ("u", "another"):
            add_user(session, user_id=user_id)
            kept = versions.add_version(session, version(user_id=user_id))
        versions.activate(session, users.get_user(session, "t", "another"), kept.id)
        assert known(session, "t", "u").active is None


def test_nobody_is_known_who_is_not_there(database: Database) -> None:
    with database.read() as session, pytest.raises(UserNotFoundError, match="There is no user 'nobody'"):
        known(session, "t", "nobody")
