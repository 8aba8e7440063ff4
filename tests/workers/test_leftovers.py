"""What a running job keeps of its trials in the store, and what it lets go."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from app.job_states import JobStatus, StepKind
from app.repositories import jobs, steps
from app.repositories import trials as trial_rows
from app.tables import Job, Step, Trial
from tests.workers.helpers import (
    TENANT,
    USER,
    add_job,
    add_person,
    assert_ended_well,
    job_now,
    run_all,
    run_next,
    run_until,
    trials_now,
)
from workers.context import Context
from workers.leftovers import clean_up, drop_dominated_trials
from workers.runner import WORK, run_step
from workers.steps.evaluate import evaluate
from workers.steps.outcome import Outcome
from workers.steps.plan import plan
from workers.steps.report import Finalists, choose_finalists


def test_only_trials_that_may_still_win_and_the_default_lora_stay_in_the_store(context: Context) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings, trials=5)
    run_until(context, StepKind.plan)
    assert run_next(context)
    run_until(context, StepKind.plan)
    # Worse in both objectives than the base, as if the search had met such a trial.
    with context.database.write() as session:
        trial = next(trial for trial in trial_rows.trials_of(session, TENANT, job.id) if trial.number == 2)
        trial.loss, trial.rouge_l = 99.0, -1.0
        session.add(trial)
    assert 2 in kept_in_store(context)

    assert run_next(context)

    rows = trials_now(context.database, job)
    finalists = choose_finalists([row for row in rows if row.loss is not None])
    allowed = {*finalists.pareto, 1} - {0}
    assert finalists.default is not None
    assert finalists.default.number == 1
    assert 2 not in allowed
    assert {row.number for row in rows if row.artifact} == allowed
    assert kept_in_store(context) == allowed

    run_all(context)
    assert_ended_well(context.database, job, trials=5)
    assert kept_in_store(context) == set()


def test_a_trial_that_ends_while_dominated_ones_are_dropped_stays(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings)
    run_until(context, StepKind.evaluate)
    assert run_next(context)
    known = trials_now(context.database, job)[1]

    def choose_while_another_ends(finished: Sequence[Trial]) -> Finalists:
        stack = context.store.load_trial(known.artifact or "", context.base)
        path = context.store.save_trial(TENANT, USER, job.id, 2, stack)
        with context.database.write() as session:
            values = known.model_dump(exclude={"id"}) | {"number": 2, "r": known.r + 1, "artifact": path}
            session.add(Trial(**values))
        return choose_finalists(finished)

    monkeypatch.setattr("workers.leftovers.choose_finalists", choose_while_another_ends)
    drop_dominated_trials(context, job_now(context.database, job))
    assert kept_in_store(context) == {1, 2}
    assert [bool(trial.artifact) for trial in trials_now(context.database, job)] == [False, True, True]


def test_a_job_cancelled_right_after_its_trials_were_stored_leaves_none(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings)
    step_id = run_until(context, StepKind.evaluate)

    def evaluate_then_cancel(context: Context, job: Job, step: Step, should_stop: Callable[[], bool]) -> Outcome:
        outcome = evaluate(context, job, step, should_stop)
        assert kept_in_store(context) == {1}
        with context.database.write() as session:
            jobs.cancel_job(session, jobs.get_job(session, TENANT, job.id))
        return outcome

    monkeypatch.setitem(WORK, StepKind.evaluate, evaluate_then_cancel)
    assert run_step(context, step_id)
    assert job_now(context.database, job).status is JobStatus.cancelled
    assert kept_in_store(context) == set()


@pytest.mark.parametrize("fate", ["cancelled", "deleted"])
def test_a_trial_of_a_killed_worker_whose_job_is_gone_goes_with_the_users_next_plan(
    context: Context, fate: str
) -> None:
    add_person(context.database)
    crashed = add_job(context.database, context.settings)
    step_id = run_until(context, StepKind.evaluate)
    with context.database.write() as session:
        held = steps.claim(session, step_id, "killed soon", 60.0)
        assert held is not None
        job, step = steps.hold(session, held)
    # The worker has stored the trial and is killed: nothing is recorded, and nobody cleans up.
    evaluate(context, job, step, lambda: False)
    with context.database.write() as session:
        if fate == "cancelled":
            jobs.cancel_job(session, jobs.get_job(session, TENANT, crashed.id))
        else:
            session.delete(jobs.get_job(session, TENANT, crashed.id))
    assert context.store.jobs_with_trials(TENANT, USER) == [crashed.id]
    assert {trial.artifact for trial in trials_now(context.database, crashed)} <= {None}

    following = add_job(context.database, context.settings)
    assert run_next(context)
    assert context.store.jobs_with_trials(TENANT, USER) == []
    assert run_next(context)
    assert context.store.jobs_with_trials(TENANT, USER) == [following.id]
    run_all(context)
    assert_ended_well(context.database, following)


def test_trials_that_cannot_be_compared_cost_space_and_not_the_job(context: Context) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings)
    run_until(context, StepKind.evaluate)
    assert run_next(context)
    with context.database.read() as session:
        present, step = job_now(context.database, job), session.get_one(Step, run_until(context, StepKind.plan))
    outcome = plan(context, present, step, lambda: False)
    with context.database.write() as session:
        trial = trial_rows.trials_of(session, TENANT, job.id)[1]
        trial.loss_se = None
        session.add(trial)
    clean_up(context, present, outcome)
    assert kept_in_store(context) == {1}


def kept_in_store(context: Context) -> set[int]:
    """Numbers of the trials whose trained stack is in the store."""
    folders = (context.settings.data_dir / "store").rglob("trials/*/*")
    return {int(folder.name.split("-")[0]) for folder in folders}
