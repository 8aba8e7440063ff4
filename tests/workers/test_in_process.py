"""A whole job in one process, without a dispatcher."""

from __future__ import annotations

import pytest

from app.job_states import JobStatus, StepKind
from app.repositories import steps
from app.repositories.clock import database_now
from app.tables import Job
from tests.workers.helpers import add_job, add_person, job_now, run_until, steps_now
from workers.context import Context
from workers.in_process import run_job


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The naps of `run_job`, which gives up after a hundred: those who wait for nothing would wait for ever."""
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        assert len(naps) < 100, "waits for a step that nobody makes"

    monkeypatch.setattr("workers.in_process.time.sleep", nap)
    return naps


def left(context: Context, kind: StepKind, *, times: int = 1) -> Job:
    """A job whose process was killed so many times within a step of this kind."""
    add_person(context.database)
    job = add_job(context.database, context.settings)
    step_id = run_until(context, kind)
    for _ in range(times):
        with context.database.write() as session:
            steps.release_expired(session, database_now(session), 100)
            assert steps.claim(session, step_id, "killed", lease_seconds=-1.0) is not None
    return job


@pytest.mark.parametrize("kind", list(StepKind))
def test_a_step_that_a_process_died_in_is_made_again_by_the_next(
    kind: StepKind, context: Context, patient: list[float]
) -> None:
    job = left(context, kind)
    assert run_job(context, job) is JobStatus.succeeded
    again = [step for step in steps_now(context.database, job) if step.attempt > 1]
    assert [(step.kind, step.attempt) for step in again] == [(kind, 2)]
    assert patient


@pytest.mark.usefixtures("patient")
def test_a_step_that_every_process_dies_in_ends_the_job_with_a_reason(context: Context) -> None:
    job = left(context, StepKind.evaluate, times=context.settings.max_attempts)
    assert run_job(context, job) is JobStatus.failed
    error = job_now(context.database, job).error
    assert error is not None
    assert error["code"] == "gave_up"
