"""How many passes a job's trials make: all in the initial design, and afterwards as many as these told to be best."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import pytest

from app.job_states import StepKind, TrialOrigin, TrialState
from app.repositories import jobs
from app.repositories import trials as trial_rows
from app.tables import Job, Trial
from tests.workers.helpers import (
    TENANT,
    add_job,
    add_person,
    assert_ended_well,
    assert_only_versions_are_stored,
    events_now,
    job_now,
    run_all,
    run_next,
    run_until,
    trials_now,
)
from workers.context import Context
from workers.search.early_stopping import FEWEST_COMPLETE
from workers.search.passes import best_passes
from workers.steps.trials import complete_of, passes_for


def started(context: Context, **options: Any) -> Job:
    """A job whose initial design is trained, right before the plan that follows."""
    add_person(context.database)
    job = add_job(context.database, context.settings, **options)
    assert run_next(context)
    run_until(context, StepKind.plan)
    return job


def made(trial: Trial) -> list[dict[str, list[float]]]:
    assert trial.scores is not None
    passes: list[dict[str, list[float]]] = trial.scores["passes"]
    return passes


def shown(trial: Trial) -> tuple[float, float]:
    assert trial.loss is not None
    assert trial.rouge_l is not None
    return trial.loss, trial.rouge_l


def means(scores: dict[str, list[float]]) -> tuple[float, float]:
    return pytest.approx((fmean(scores["loss"]), fmean(scores["rouge_l"])))  # type: ignore[return-value]


def test_trials_of_the_initial_design_make_every_pass_and_later_ones_as_many_as_were_chosen(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.steps.trials.best_passes", lambda _curves: 2)
    job = started(context, trials=4, epochs=3)
    run_all(context)
    assert_ended_well(context.database, job, trials=4)
    trials = trials_now(context.database, job)
    assert [trial.origin.value for trial in trials] == ["base", "default", "initial", "proposed"]
    assert [len(made(trial)) for trial in trials] == [1, 3, 3, 2]


def test_once_the_passes_are_chosen_all_trials_show_their_scores_after_so_many(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.steps.trials.best_passes", lambda _curves: 1)
    job = started(context, trials=4, epochs=2)
    assert job_now(context.database, job).passes is None
    base, *design = trials_now(context.database, job)
    assert all(shown(trial) == means(made(trial)[-1]) for trial in design)
    told = {event["number"]: (event["loss"], event["rouge_l"]) for event in events_now(context.database, job, "trial")}
    assert told == {trial.number: shown(trial) for trial in (base, *design)}

    assert run_next(context)
    assert job_now(context.database, job).passes == 1
    same, *design = trials_now(context.database, job)[: 1 + len(design)]
    assert shown(same) == shown(base)
    assert all(shown(trial) == means(made(trial)[0]) for trial in design)
    assert any(made(trial)[0] != made(trial)[1] for trial in design)
    run_all(context)
    assert all(shown(trial) == means(made(trial)[0]) for trial in trials_now(context.database, job))


def test_the_trained_trials_of_the_initial_design_choose_and_neither_the_base_nor_later_ones(context: Context) -> None:
    job = started(context, trials=4, epochs=3)
    run_all(context)
    trials = trials_now(context.database, job)
    curves = [[fmean(after["rouge_l"]) for after in made(trial)] for trial in trials if trial.number in (1, 2)]
    ended = job_now(context.database, job)
    assert ended.passes == best_passes(curves)
    assert ended.report is not None
    assert ended.report["passes"] == ended.passes


def test_trials_that_end_after_the_passes_were_chosen_do_not_change_them(context: Context) -> None:
    job = Job(tenant_id=TENANT, user_id="u", options={}, passes=1)
    better_later = {"passes": [{"loss": [1.0], "rouge_l": [score]} for score in (1.0, 2.0)]}
    trial = Trial(
        tenant_id=TENANT, job_id="j", step_id=1, number=1, origin=TrialOrigin.initial, layers="1", n=1, r=8, seed=0,
        scores=better_later,
    )  # fmt: skip
    assert passes_for(job, [trial]) == 1
    job.passes = None
    assert passes_for(job, [trial]) == 2
    trial.round = 1
    assert passes_for(job, [trial]) is None


def as_before_passes_were_scored(context: Context, job: Job) -> None:
    """Its trials so far as the service wrote them when it scored trials at their end only."""
    with context.database.write() as session:
        for trial in trial_rows.trials_of(session, TENANT, job.id):
            passes = [] if trial.origin == TrialOrigin.base else made(trial)
            last = made(trial)[-1]
            trial.scores = {**last, "curve": [fmean(after["loss"]) for after in passes]}
            session.add(trial)
        assert jobs.get_job(session, TENANT, job.id).passes is None


def test_a_job_that_began_before_passes_were_scored_goes_on_and_makes_all_of_them(context: Context) -> None:
    job = started(context, trials=4, epochs=2)
    as_before_passes_were_scored(context, job)
    before = [shown(trial) for trial in trials_now(context.database, job)]
    run_all(context)
    assert_ended_well(context.database, job, trials=4)
    assert_only_versions_are_stored(context.settings, context.database)
    *old, new = trials_now(context.database, job)
    assert [shown(trial) for trial in old] == before
    assert len(made(new)) == 2
    assert shown(new) == means(made(new)[-1])
    ended = job_now(context.database, job)
    assert ended.report is not None
    assert (ended.passes, ended.report["passes"]) == (None, None)


def test_a_job_that_was_to_be_published_before_passes_were_scored_is_published(context: Context) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings, epochs=2)
    step_id = run_until(context, StepKind.publish)
    with context.database.write() as session:
        jobs.get_job(session, TENANT, job.id).passes = None
    as_before_passes_were_scored(context, job)
    assert run_until(context, StepKind.publish) == step_id
    run_all(context)
    assert_ended_well(context.database, job)
    assert_only_versions_are_stored(context.settings, context.database)


def test_a_trial_from_before_passes_were_scored_tells_of_early_stopping_what_it_told_then(context: Context) -> None:
    job = started(context, trials=4, epochs=3)
    default = trials_now(context.database, job)[1]
    now_told = complete_of(default, None)
    as_before_passes_were_scored(context, job)
    then_told = complete_of(trials_now(context.database, job)[1], None)
    assert then_told == now_told
    assert len(then_told.losses) == 3


def test_with_fewer_passes_chosen_a_trial_is_stopped_by_what_others_had_scored_then(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[int], list[float]]] = []

    class Watching:
        """Sees what a rule is made from, and stops nobody."""

        def __init__(self, complete: list[Any], _base: Any) -> None:
            asked.append(([len(one.losses) for one in complete], [one.observation.rouge_l for one in complete]))

        def goes_on(self, *_: Any) -> bool:
            return True

    monkeypatch.setattr("workers.steps.evaluate.StoppingRule", Watching)
    monkeypatch.setattr("workers.steps.trials.best_passes", lambda _curves: 2)
    job = started(context, trials=14, epochs=3)
    run_all(context)
    trials = trials_now(context.database, job)
    assert {trial.state for trial in trials} == {TrialState.succeeded}
    lengths, scores = asked[-1]
    assert len(lengths) >= FEWEST_COMPLETE
    assert set(lengths) == {2}
    assert scores == [trial.rouge_l for trial in trials[1 : 1 + len(scores)]]
