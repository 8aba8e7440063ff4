"""Users: made once, erased entirely."""

from __future__ import annotations

import pytest
from sqlmodel import Session, SQLModel, func, select

from app.database import Database
from app.errors import InvalidEncodingError, UserNotFoundError
from app.repositories import events, history, jobs, users, versions
from app.repositories.answering import known
from app.webhook_tables import Webhook
from tests.app.test_database import run_at_once
from tests.support.records import add_job, add_trials, add_user, samples, version


def test_a_user_is_made_once_and_the_profile_kept_until_another_comes(database: Database) -> None:
    with database.write() as session:
        made = users.ensure_user(session, "t", "u", None)
        assert made.profile == ""
        users.ensure_user(session, "t", "u", "a nurse")
    with database.write() as session:
        kept = users.ensure_user(session, "t", "u", None)
        assert (kept.profile, kept.created_at) == ("a nurse", made.created_at)
        assert kept.updated_at > made.created_at
        assert users.ensure_user(session, "t", "u", "").profile == ""


def test_a_profile_not_yet_written_is_not_lost_when_the_user_is_locked(database: Database) -> None:
    with database.write() as session:
        users.ensure_user(session, "t", "u", None).profile = "changed"
        assert users.ensure_user(session, "t", "u", None).profile == "changed"


def test_a_profile_that_no_database_takes_is_refused(database: Database) -> None:
    with database.write() as session, pytest.raises(InvalidEncodingError, match="The profile"):
        users.ensure_user(session, "t", "u", "\0")


def test_an_unknown_user_is_named(database: Database) -> None:
    with database.write() as session:
        for function in (users.get_user, users.lock_user, users.delete_user):
            with pytest.raises(UserNotFoundError, match="no user 'nobody'"):
                function(session, "t", "nobody")


def test_one_user_made_by_many_at_once_is_one(database: Database) -> None:
    def work() -> None:
        with database.write() as session:
            users.ensure_user(session, "t", "u", None)

    run_at_once(*[work] * 4)
    with database.read() as session:
        assert len(users.page_users(session, "t", None, 10).items) == 1


def test_one_who_is_made_by_somebody_else_just_then_is_changed_all_the_same(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, insert = Database(postgres_url), users._insert

    def after_somebody_else(session: Session, tenant: str, user_id: str) -> None:
        with database.write() as other:
            insert(other, tenant, user_id)
        insert(session, tenant, user_id)

    monkeypatch.setattr(users, "_insert", after_somebody_else)
    with database.write() as session:
        user = users.ensure_user(session, "t", "u", None)
        assert user.updated_at > user.created_at
    database.dispose()


def test_erasing_a_user_leaves_no_row_of_theirs_and_all_of_others(database: Database) -> None:
    with database.write() as session:
        for tenant in ("t", "other"):
            session.add(Webhook(tenant_id=tenant, url="", events=["job.cancelled"], secret="", created_by="operator"))
        for tenant, user_id in (("t", "u"), ("t", "another"), ("other", "u")):
            add_user(session, tenant, user_id, samples(3))
            job = add_job(session, tenant, user_id)
            add_trials(session, job, 2)
            events.append(session, job, "trial", {"number": 0})
            kept = versions.add_version(session, version(tenant=tenant, user_id=user_id, job=job))
            versions.activate(session, users.get_user(session, tenant, user_id), kept.id)
            jobs.cancel_job(session, job)
    with database.write() as session:
        before = count_rows(session)
        users.delete_user(session, "t", "u")
        after = count_rows(session)
    # Tables that are empty, as most are here, say nothing.
    assert {name: (before[name], after[name]) for name in before if before[name]} == {
        "users": (3, 2),
        "samples": (9, 6),
        "webhooks": (2, 2),
        "webhook_deliveries": (3, 2),
        "jobs": (3, 2),
        "steps": (6, 4),
        "trials": (6, 4),
        "events": (9, 6),
        "versions": (3, 2),
    }
    with database.read() as session:
        for tenant, user_id in (("t", "another"), ("other", "u")):
            assert history.count_samples(session, tenant, user_id) == 3
            assert known(session, tenant, user_id).active is not None
            assert len(jobs.page_jobs(session, tenant, user_id=user_id, limit=10).items) == 1


def count_rows(session) -> dict[str, int]:  # type: ignore[no-untyped-def]
    return {
        name: session.exec(select(func.count()).select_from(table)).one()
        for name, table in SQLModel.metadata.tables.items()
    }
