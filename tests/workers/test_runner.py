"""Jobs from their first step to their end in this process: raced for, cancelled, paused, deleted, failing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app.database import Database
from app.erasure_states import ErasureKind, HolderState
from app.job_states import JobStatus, StepKind, StepState, TrialState
from app.repositories import erasure, erasures, jobs, steps, users
from app.settings import Settings
from app.tables import Job, Step, now
from engine.base import Base
from engine.training import TrainedCandidate, train_candidates
from tests.support.servers import PostgresServer
from tests.workers.helpers import (
    TENANT,
    USER,
    add_job,
    add_person,
    assert_ended_well,
    assert_only_versions_are_stored,
    cut_off,
    due,
    events_now,
    job_now,
    run_all,
    run_until,
    steps_now,
    stored,
    trials_now,
    versions_now,
)
from workers.context import Context
from workers.runner import WORK, run_step
from workers.steps.publish import publish

PATIENCE = 60.0


@pytest.fixture
def contexts(settings: Settings, database_url: str, base: Base) -> Iterator[list[Context]]:
    """Two workers on one database, of each kind; they share the loaded base, which threads may."""
    both = [Context(settings.model_copy(update={"database_url": database_url})) for _ in range(2)]
    for context in both:
        context.base = base
    yield both
    for context in both:
        context.database.dispose()


def change(database: Database, job: Job, how: Callable[[Any, Job], None]) -> None:
    with database.write() as session:
        how(session, jobs.get_job(session, job.tenant_id, job.id))


def run_and_meanwhile(context: Context, step_id: int, act: Callable[[], None]) -> None:
    """Run a step in a thread, and `act` once it is claimed."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_step, context, step_id)
        while True:
            with context.database.read() as session:
                step = session.get(Step, step_id)
            if step is None or step.state != StepState.ready:
                break
        act()
        assert running.result(PATIENCE) is True


@pytest.fixture
def impatient(context: Context) -> Context:
    """A worker that notices within a moment that its lease is gone."""
    context.settings = context.settings.model_copy(update={"heartbeat_seconds": 0.02})
    return context


def test_a_job_runs_from_queued_to_published(context: Context) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings, trials=4)
    run_all(context)
    assert_ended_well(context.database, job, trials=4)
    told = [event["status"] for event in events_now(context.database, job, "status")]
    assert told == ["queued", "planning", "evaluating", "planning", "evaluating", "planning", "publishing", "succeeded"]
    assert job_now(context.database, job).seconds_left is None
    assert_only_versions_are_stored(context.settings, context.database)


def test_of_two_workers_running_one_step_one_does_the_work(contexts: list[Context]) -> None:
    add_person(contexts[0].database)
    job = add_job(contexts[0].database, contexts[0].settings)
    (step_id,) = due(contexts[0].database)
    start = threading.Barrier(2)

    def run(context: Context) -> bool:
        start.wait()
        return run_step(context, step_id)

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(run, contexts)) == [False, True]
    assert [step.kind for step in steps_now(contexts[0].database, job)] == [StepKind.plan, StepKind.evaluate]


def test_trials_of_one_job_spread_over_two_workers_and_one_plan_follows(contexts: list[Context]) -> None:
    database = contexts[0].database
    add_person(database)
    job = add_job(database, contexts[0].settings, trials=7)
    run_until(contexts[0], StepKind.evaluate)
    both = due(database)
    assert len(both) == 2
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run_step, contexts, both)) == [True, True]
    assert {trial.state for trial in trials_now(database, job)} == {TrialState.succeeded}
    kinds = [step.kind.value for step in steps_now(database, job)]
    assert kinds == ["plan", "evaluate", "evaluate", "plan"]


def test_a_job_cancelled_while_it_trains_ends_at_once_and_leaves_nothing(impatient: Context) -> None:
    add_person(impatient.database)
    job = add_job(impatient.database, impatient.settings, epochs=100)
    step_id = run_until(impatient, StepKind.evaluate)
    run_and_meanwhile(impatient, step_id, lambda: change(impatient.database, job, jobs.cancel_job))
    assert job_now(impatient.database, job).status is JobStatus.cancelled
    assert {trial.state for trial in trials_now(impatient.database, job)} == {TrialState.cancelled}
    assert stored(impatient.settings) == []
    assert due(impatient.database) == []


def test_a_job_cancelled_while_its_winner_is_trained_anew_ends_at_once_and_leaves_nothing(
    impatient: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_person(impatient.database)
    job = add_job(impatient.database, impatient.settings, activate="always")
    step_id = run_until(impatient, StepKind.publish)
    training = threading.Event()

    def train(base: Base, candidates: Any, course: Any, *, should_stop: Callable[[], bool]) -> list[TrainedCandidate]:
        training.set()
        longer = replace(course, settings=replace(course.settings, epochs=100), passes=100)
        return train_candidates(base, candidates, longer, should_stop=should_stop)

    def cancel() -> None:
        assert training.wait(PATIENCE)
        change(impatient.database, job, jobs.cancel_job)

    monkeypatch.setattr("workers.steps.publish.train_candidates", train)
    run_and_meanwhile(impatient, step_id, cancel)
    assert job_now(impatient.database, job).status is JobStatus.cancelled
    assert stored(impatient.settings) == []
    assert versions_now(impatient.database) == []
    assert due(impatient.database) == []


def test_a_job_paused_while_it_trains_finishes_its_step_and_goes_on_when_resumed(context: Context) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings)
    step_id = run_until(context, StepKind.evaluate)
    run_and_meanwhile(context, step_id, lambda: change(context.database, job, jobs.pause_job))
    assert job_now(context.database, job).status is JobStatus.paused
    assert [t.state for t in trials_now(context.database, job)] == [TrialState.succeeded] * 2
    assert due(context.database) == []
    change(context.database, job, jobs.resume_job)
    run_all(context)
    assert_ended_well(context.database, job)


def test_a_user_deleted_while_their_job_trains_leaves_nothing(impatient: Context) -> None:
    add_person(impatient.database)
    job = add_job(impatient.database, impatient.settings, epochs=100)
    step_id = run_until(impatient, StepKind.evaluate)

    def delete() -> None:
        with impatient.database.write() as session:
            at_work = erasures.steps_at_work(session, TENANT, USER)
            erasure.erase_user(session, TENANT, USER, "somebody")
            erasures.begin(session, TENANT, USER, ErasureKind.user, {}, at_work)
        impatient.store.erase_user(TENANT, USER)

    run_and_meanwhile(impatient, step_id, delete)
    assert steps_now(impatient.database, job) == []
    assert stored(impatient.settings) == []
    # The erasure waited for the step, and hears from the worker that it has nothing any more.
    with impatient.database.read() as session:
        (open_one,) = erasures.unfinished(session)
        (holder,) = erasures.holders(session, open_one)
    assert (holder.name, holder.state) == (f"step_{step_id}", HolderState.forgot)


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_a_version_published_for_a_job_that_ended_meanwhile_is_erased(
    context: Context, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings, activate="always")
    step_id = run_until(context, StepKind.publish)

    def publish_too_late(context: Context, job: Job, step: Step, should_stop: Callable[[], bool]) -> Any:
        outcome = publish(context, job, step, lambda: False)
        assert outcome.version is not None
        assert any(outcome.version["path"] in path for path in stored(context.settings))
        if end == "cancel":
            change(context.database, job, jobs.cancel_job)
        else:
            with context.database.write() as session:
                users.delete_user(session, TENANT, USER)
        return outcome

    monkeypatch.setitem(WORK, StepKind.publish, publish_too_late)
    assert run_step(context, step_id)
    assert stored(context.settings) == []
    assert versions_now(context.database) == []
    assert steps_now(context.database, job) == [] or job_now(context.database, job).status is JobStatus.cancelled


def test_a_worker_that_is_leaving_gives_its_step_back(context: Context) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings)
    step_id = run_until(context, StepKind.evaluate)
    assert run_step(context, step_id, is_leaving=lambda: True)
    assert due(context.database) == [step_id]
    assert {trial.state for trial in trials_now(context.database, job)} == {TrialState.planned}


def test_a_worker_whose_step_was_taken_records_nothing(impatient: Context) -> None:
    add_person(impatient.database)
    job = add_job(impatient.database, impatient.settings, epochs=100)
    step_id = run_until(impatient, StepKind.evaluate)

    def take() -> None:
        with impatient.database.write() as session:
            session.get_one(Step, step_id).lease_until = now()
        with impatient.database.write() as session:
            assert list(steps.release_expired(session, now(), 5)) == [step_id]
            assert steps.claim(session, step_id, "another", 30.0) is not None

    run_and_meanwhile(impatient, step_id, take)
    step = next(step for step in steps_now(impatient.database, job) if step.id == step_id)
    assert (step.state, step.owner) == (StepState.claimed, "another")
    assert {trial.state for trial in trials_now(impatient.database, job)} == {TrialState.planned}


def test_work_that_hangs_is_told_and_its_lease_runs_out(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, told = threading.Event(), threading.Event()
    quick = {"heartbeat_seconds": 0.05, "stuck_seconds": 0.3, "lease_seconds": 1.0}
    context.settings, context.on_stuck = context.settings.model_copy(update=quick), told.set
    add_person(context.database)
    job = add_job(context.database, context.settings)
    (step_id,) = due(context.database)

    def hang(*_: object) -> Any:
        assert hangs.wait(PATIENCE)
        raise RuntimeError("it went on after all")

    monkeypatch.setitem(WORK, StepKind.plan, hang)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_step, context, step_id)
        assert told.wait(PATIENCE)
        with context.database.write() as session:
            later = now() + timedelta(seconds=context.settings.lease_seconds)
            assert list(steps.release_expired(session, later, 5)) == [step_id]
        hangs.set()
        assert running.result(PATIENCE) is True
    # Whoever has the step now has it to himself.
    assert due(context.database) == [step_id]
    assert job_now(context.database, job).error is None


def test_a_database_away_for_a_moment_does_not_cost_the_work(
    settings: Settings,
    postgres_url: str,
    postgres_server: PostgresServer,
    base: Base,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = Context(settings.model_copy(update={"database_url": postgres_url}))
    context.base = base
    add_person(context.database)
    job = add_job(context.database, context.settings)
    step_id = run_until(context, StepKind.evaluate)

    training = threading.Event()

    def train(*arguments: Any, **more: Any) -> list[TrainedCandidate]:
        training.set()
        return train_candidates(*arguments, **more)

    monkeypatch.setattr("workers.steps.evaluate.train_candidates", train)

    def cut() -> None:
        assert training.wait(PATIENCE)
        with cut_off(postgres_server, context.database):
            threading.Event().wait(1.0)

    run_and_meanwhile(context, step_id, cut)
    step = next(step for step in steps_now(context.database, job) if step.id == step_id)
    assert (step.state, step.attempt) == (StepState.done, 1)
    context.database.dispose()
