"""Plans made beside training: claimed while this process is busy, and left when it has to end."""

from __future__ import annotations

from datetime import timedelta
from threading import Event

from app.job_states import StepKind, StepState, TrialOrigin
from app.repositories import steps
from app.tables import now
from tests.workers.helpers import add_job, add_person, due, run_until, steps_now, trials_now
from workers.context import Context
from workers.plans_beside import PlansBeside
from workers.proposer import ProposerError, Question, in_this_process
from workers.runner import run_step
from workers.search.loop import Batch

PATIENCE = 60


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
    with PlansBeside(context, lambda: False):
        assert planned.wait(PATIENCE)

    (plan, evaluate) = steps_now(context.database, job)
    assert (plan.kind, plan.state) == (StepKind.plan, StepState.done)
    assert (evaluate.kind, evaluate.state) == (StepKind.evaluate, StepState.ready)
    assert trials_now(context.database, job)[0].origin == TrialOrigin.base


def test_only_plans_are_taken(context: Context) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings)
    run_until(context, StepKind.evaluate)
    with PlansBeside(context, lambda: False):
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
    with PlansBeside(context, leaving.is_set, interrupted.set):
        assert asked.wait(PATIENCE)
        leaving.set()

    (plan,) = steps_now(context.database, job)
    assert (plan.state, plan.attempt) == (StepState.ready, 1)
    context.propose = in_this_process
    assert run_step(context, due(context.database)[0])
    assert steps_now(context.database, job)[0].state == StepState.done
