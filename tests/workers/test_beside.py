"""What a worker does beside a step: plans, left when it has to end, and training for cores that are idle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from threading import Barrier, Event
from typing import Any

import pytest

from app.job_states import StepKind, StepState, TrialOrigin, TrialState
from app.repositories import steps, waiting
from app.tables import Job, Step, now
from engine.base import Base
from engine.training import Candidate, Course, train_candidates
from tests.workers.helpers import add_job, add_person, due, run_until, samples, steps_now, trials_now
from workers.beside import Beside, work
from workers.context import Context
from workers.proposer import ProposerError, Question, in_this_process
from workers.runner import run_step
from workers.search.loop import Batch

PATIENCE = 60


def plans_beside(context: Context) -> Beside:
    return Beside(context, waiting.plan_to_make, lambda: False)


def test_a_plan_that_becomes_due_is_made_while_the_process_does_something_else(context: Context) -> None:
    planned = Event()

    def propose(question: Question) -> Batch:
        batch = in_this_process(question)
        planned.set()
        return batch

    context.propose = propose
    add_person(context.database)
    job = add_job(context.database, context.settings)
    # The dispatcher rings for it at once and pushes back when it will ring again; the broker's message waits.
    with context.database.write() as session:
        steps.mark_sent(session, steps_now(context.database, job)[0], now() + timedelta(minutes=1))
    with plans_beside(context):
        assert planned.wait(PATIENCE)

    (plan, evaluate) = steps_now(context.database, job)
    assert (plan.kind, plan.state) == (StepKind.plan, StepState.done)
    assert (evaluate.kind, evaluate.state) == (StepKind.evaluate, StepState.ready)
    assert trials_now(context.database, job)[0].origin == TrialOrigin.base


def test_only_plans_are_taken(context: Context) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings)
    run_until(context, StepKind.evaluate)
    with plans_beside(context):
        Event().wait(4 * context.settings.dispatch_seconds)

    assert [step.state for step in steps_now(context.database, job)] == [StepState.done, StepState.ready]


def test_a_plan_at_work_is_interrupted_and_given_back_when_the_worker_has_to_end(context: Context) -> None:
    asked, interrupted, leaving = Event(), Event(), Event()

    def propose(_question: Question) -> Batch:
        asked.set()
        assert interrupted.wait(PATIENCE)
        raise ProposerError("the proposing process died")

    context.propose = propose
    add_person(context.database)
    job = add_job(context.database, context.settings)
    with Beside(context, waiting.plan_to_make, leaving.is_set, interrupted.set):
        assert asked.wait(PATIENCE)
        leaving.set()

    (plan,) = steps_now(context.database, job)
    assert (plan.state, plan.attempt) == (StepState.ready, 1)
    context.propose = in_this_process
    assert run_step(context, due(context.database)[0])
    assert steps_now(context.database, job)[0].state == StepState.done


class Together:
    """Trains on after a first step once another job's candidate has made one too; keeps whose they are, by a letter."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.whose: list[str] = []
        self._both = Barrier(2)
        monkeypatch.setattr("workers.steps.evaluate.train_candidates", self)

    def __call__(
        self, base: Base, candidates: Sequence[Candidate], course: Course, *, on_step: Callable[..., None], **how: Any
    ) -> Any:
        self.whose.append(course.train[0].query[0])
        met = Event()

        def meet(*told: Any) -> None:
            if not met.is_set():
                met.set()
                self._both.wait(PATIENCE)
            on_step(*told)

        return train_candidates(base, candidates, course, on_step=meet, **how)


@pytest.fixture
def two_cores(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context.base, "threads", 2)


def two_planned(context: Context) -> list[Job]:
    """Jobs of ann and bob with a step of one candidate each to train next."""
    jobs = []
    for user in ("ann", "bob"):
        add_person(context.database, samples(unlike=user), user)
        jobs.append(add_job(context.database, context.settings, user, epochs=3))
    for job in jobs:
        assert run_step(context, steps_now(context.database, job)[0].id or 0)
    return jobs


def evaluation(context: Context, job: Job) -> Step:
    (found,) = [step for step in steps_now(context.database, job) if step.kind == StepKind.evaluate]
    return found


@pytest.mark.usefixtures("two_cores")
def test_idle_cores_train_another_jobs_candidates_meanwhile(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    together, (ann, bob) = Together(monkeypatch), two_planned(context)
    work(context, evaluation(context, ann).id or 0)

    assert sorted(together.whose) == ["a", "b"]
    for job in (ann, bob):
        assert [trial.state for trial in trials_now(context.database, job)] == [TrialState.succeeded] * 2


@pytest.mark.usefixtures("two_cores")
def test_training_beside_is_left_to_idle_workers_first(context: Context) -> None:
    ann, bob = two_planned(context)
    with context.database.write() as session:
        # Once: some worker may be about to take it.
        steps.mark_sent(session, evaluation(context, bob), now())
    work(context, evaluation(context, ann).id or 0, rung=2)

    assert (evaluation(context, ann).state, evaluation(context, bob).state) == (StepState.done, StepState.ready)


def test_where_no_core_is_idle_nothing_is_trained_beside(context: Context) -> None:
    ann, bob = two_planned(context)
    work(context, evaluation(context, ann).id or 0)

    assert (evaluation(context, ann).state, evaluation(context, bob).state) == (StepState.done, StepState.ready)
