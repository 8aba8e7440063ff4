"""Versions: kept once by content, and one of them active."""

from __future__ import annotations

import pytest

from app.database import Database
from app.errors import UserNotFoundError, VersionNotFoundError
from app.repositories import users, versions
from tests.support.records import add_job, add_user, version


def test_the_same_content_published_twice_is_one_version(database: Database) -> None:
    with database.write() as session:
        job = add_job(session)
        first = versions.add_version(session, version(job=job))
    with database.write() as session:
        again = versions.add_version(session, version(job=job))
        assert again == first
        assert versions.page_versions(session, "t", "u", None, 10).items == [first]


def test_two_users_may_have_the_same_content(database: Database) -> None:
    with database.write() as session:
        for user_id in ("u", "another"):
            add_user(session, user_id=user_id)
            kept = versions.add_version(session, version(user_id=user_id))
            assert versions.get_version(session, "t", user_id, kept.id).user_id == user_id


def test_a_version_needs_a_user(database: Database) -> None:
    with database.write() as session, pytest.raises(UserNotFoundError):
        versions.add_version(session, version(user_id="nobody"))


def test_a_version_of_another_user_cannot_be_activated(database: Database) -> None:
    with database.write() as session:
        add_user(session)
        add_user(session, user_id="another")
        theirs = versions.add_version(session, version(user_id="another"))
        user = users.get_user(session, "t", "u")
        with pytest.raises(VersionNotFoundError, match="has no version"):
            versions.activate(session, user, theirs.id)
        assert users.get_user(session, "t", "u").active_version_id is None


def test_a_version_outlives_nothing_but_its_job_pointer(database: Database) -> None:
    with database.write() as session:
        job = add_job(session)
        kept = versions.add_version(session, version(job=job))
        session.delete(job)
    with database.read() as session:
        assert versions.get_version(session, "t", "u", kept.id).job_id is None
