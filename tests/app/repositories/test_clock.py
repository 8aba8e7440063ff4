"""Leases and due times on PostgreSQL go by its clock, however wrong that of the process is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from app.database import Database
from app.job_states import JobStatus
from app.repositories import jobs, steps, waiting
from app.repositories.clock import database_now
from app.tables import now
from tests.app.repositories.test_steps import change, claim, claimed, due, job_now, new_job, step_now
from tests.support.clocks import clock_off_by

MINUTE = timedelta(minutes=1)


@pytest.fixture
def shared(postgres_url: str) -> Iterator[Database]:
    """A database that is asked over a network by machines with clocks of their own."""
    opened = Database(postgres_url)
    yield opened
    opened.dispose()


@pytest.fixture(params=[1, -1], ids=["an hour ahead", "an hour behind"])
def wrong(request: pytest.FixtureRequest) -> int:
    """Hours by which a process's clock is off."""
    return int(request.param)


def test_the_databases_time_is_aware_and_goes_on_within_a_transaction(database: Database) -> None:
    with database.write() as session:
        first = database_now(session)
        # The time of the transaction's start would stand still.
        while (second := database_now(session)) == first:
            pass
    assert first.utcoffset() == second.utcoffset() == timedelta(0)
    assert first < second
    assert abs(datetime.now(UTC) - second) < MINUTE


def test_a_lease_taken_or_renewed_by_a_wrong_clock_ends_when_it_should(shared: Database, wrong: int) -> None:
    _, step_id = new_job(shared)
    with clock_off_by(wrong):
        assert abs(now() - datetime.now(UTC)) > MINUTE
        held = claim(shared, step_id)
    assert held is not None
    for _ in range(2):
        with shared.write() as session:
            assert not steps.any_expired(session, datetime.now(UTC))
            assert steps.any_expired(session, datetime.now(UTC) + MINUTE)
            with clock_off_by(wrong):
                assert steps.renew(session, held, lease_seconds=30.0)


def test_a_step_given_back_by_a_wrong_clock_is_due_after_its_pause(shared: Database, wrong: int) -> None:
    _, held = claimed(shared)
    with clock_off_by(wrong), shared.write() as session:
        steps.give_back(session, held, pause_seconds=30.0)
    assert due(shared) == []
    with shared.read() as session:
        assert len(waiting.due(session, datetime.now(UTC) + MINUTE, 10)) == 1


def test_a_step_made_or_resumed_by_a_wrong_clock_is_due_at_once(shared: Database, wrong: int) -> None:
    with clock_off_by(wrong):
        job, step_id = new_job(shared)
    assert abs(step_now(shared, step_id).send_after - datetime.now(UTC)) < MINUTE
    assert due(shared) == [step_id]
    change(shared, job, jobs.pause_job)
    with clock_off_by(wrong):
        change(shared, job, jobs.resume_job)
    assert due(shared) == [step_id]


def test_a_pause_that_a_wrong_clock_ends_is_as_long_as_it_was(shared: Database, wrong: int) -> None:
    job, _ = claimed(shared)
    change(shared, job, jobs.pause_job)
    with clock_off_by(wrong):
        change(shared, job, jobs.resume_job)
    resumed = job_now(shared, job)
    assert resumed.status is JobStatus.planning
    assert 0 <= resumed.paused_seconds < 60
