"""Planning while trials are in training: only what is settled is looked at, whatever happens to be done already."""

from __future__ import annotations

import pytest

from app.job_states import StepKind, StepState, TrialOrigin, TrialState
from app.repositories import steps, waiting
from app.repositories.clock import database_now
from app.tables import Step, Trial
from tests.workers.helpers import add_job, add_person, assert_ended_well, due, run_all, steps_now, trials_now
from workers.context import Context
from workers.proposer import Question, in_this_process
from workers.runner import run_step
from workers.search.loop import Batch
from workers.steps.ahead import FEWEST_KNOWN, look


def evaluate_steps(*states: StepState) -> list[Step]:
    return [Step(id=i, tenant_id="t", job_id="j", kind=StepKind.evaluate, state=s) for i, s in enumerate(states)]


def trials_in(step_ids: list[int], state: TrialState = TrialState.succeeded) -> list[Trial]:
    return [
        Trial(
            tenant_id="t", job_id="j", step_id=i, number=n, origin=TrialOrigin.initial, layers="1", n=1, r=8, seed=0,
            state=state,
        )
        for n, i in enumerate(step_ids)
    ]  # fmt: skip


DONE, READY, CLAIMED = StepState.done, StepState.ready, StepState.claimed


@pytest.mark.parametrize(
    ("states", "ahead", "settled", "may_plan"),
    [
        ((DONE, DONE, CLAIMED), 1, {0, 1}, True),
        ((DONE, CLAIMED, CLAIMED), 1, set(), False),
        ((DONE, CLAIMED, DONE), 1, set(), False),  # the second is slow: what the third told must not count before it
        ((DONE, CLAIMED, READY), 2, {0}, True),
        ((DONE, DONE, DONE), 1, {0, 1}, True),
        ((READY,), 1, set(), False),
        ((DONE,), 1, set(), True),
    ],
)
def test_all_steps_but_the_last_ones_have_to_have_ended(
    states: tuple[StepState, ...], ahead: int, settled: set[int], may_plan: bool
) -> None:
    trials = trials_in([i for i in range(len(states)) for _ in range(FEWEST_KNOWN)])
    outlook = look(evaluate_steps(*states), trials, ahead)
    assert (outlook.settled, outlook.may_plan) == (settled, may_plan)


def test_with_few_trials_known_a_plan_waits_for_all() -> None:
    few = trials_in([0] * (FEWEST_KNOWN - 1) + [1] * 4)
    assert not look(evaluate_steps(DONE, CLAIMED), few, 1).may_plan
    failed = trials_in([0] * FEWEST_KNOWN, TrialState.failed)
    assert not look(evaluate_steps(DONE, CLAIMED), failed, 1).may_plan


def test_the_next_trials_are_planned_while_the_last_ones_wait_to_be_trained(context: Context) -> None:
    """And a plan that comes late sees no more than one that comes at once: both searches try the same points."""
    asked: list[Question] = []

    def propose(question: Question) -> Batch:
        asked.append(question)
        return in_this_process(question)

    context.propose = propose
    tried = []
    for user_id, plans_first in (("early", True), ("late", False)):
        add_person(context.database, user_id=user_id)
        job = add_job(context.database, context.settings, user_id=user_id, trials=14)
        ahead = 0
        while found := due(context.database):
            kinds = {step.id: step.kind for step in steps_now(context.database, job)}
            plans = [i for i in found if kinds[i] == StepKind.plan]
            others = [i for i in found if kinds[i] != StepKind.plan]
            ahead += bool(plans and others)
            chosen = (plans + others if plans_first else others + plans)[0]
            assert run_step(context, chosen)
        assert_ended_well(context.database, job, trials=14)
        assert ahead > 0
        tried.append([(t.number, t.layers, t.n, t.r, t.origin) for t in trials_now(context.database, job)])
    assert tried[0] == tried[1]
    assert any(question.pending and question.observations_in_order for question in asked)


def test_a_job_is_seen_to_evaluate_while_it_also_plans(context: Context) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings, trials=14)
    while True:
        with context.database.read() as session:
            plan = waiting.plan_to_make(session, database_now(session))
            everything = waiting.due(session, database_now(session), 10)
        if plan is not None and len(everything) > 1:
            break
        assert run_step(context, everything[0].id or 0)
    training = next(step for step in everything if step.kind == StepKind.evaluate)
    with context.database.write() as session:
        assert steps.claim(session, training.id or 0, "one", 60)
    with context.database.write() as session:
        assert steps.claim(session, plan.id or 0, "two", 60)
        assert steps._locked_job(session, plan).status == "evaluating"  # type: ignore[union-attr]
    with context.database.write() as session:
        session.delete(session.get(type(job), job.id))
    run_all(context)
