"""The plan step: it fixes split and budget once, spreads trials over steps, and replays exactly."""

from __future__ import annotations

from datetime import timedelta
from itertools import combinations
from typing import Any

import pytest

from app.job_options import DIMENSIONS
from app.job_states import StepKind, TrialOrigin
from app.repositories import history, jobs
from app.tables import Job, Trial
from engine.history import split_in_time
from tests.workers.helpers import (
    TENANT,
    USER,
    add_job,
    add_person,
    events_now,
    job_now,
    run_all,
    run_next,
    samples,
    steps_now,
    trials_now,
)
from workers.context import Context


def tried(trials: list[Trial]) -> list[tuple[Any, ...]]:
    return [(t.number, t.origin, t.layers, t.n, t.r, t.seed) for t in trials]


def texts(context: Context, ids: list[int]) -> list[str]:
    with context.database.read() as session:
        return [row.query for row in history.samples_by_ids(session, TENANT, ids)]


def planned(context: Context, **options: Any) -> Job:
    """A job after its first plan step."""
    add_person(context.database)
    job = add_job(context.database, context.settings, **options)
    assert run_next(context)
    return job_now(context.database, job)


def test_the_first_plan_fixes_split_and_budget(context: Context) -> None:
    job = planned(context, trials=7)
    assert job.split is not None
    expected = split_in_time([sample.query for sample in samples()])
    assert [texts(context, job.split[part]) for part in ("train", "validation", "test")] == [
        list(expected.train),
        list(expected.validation),
        list(expected.test),
    ]
    assert job.trials_planned == 7


def test_the_base_comes_first_then_the_default_lora(context: Context) -> None:
    job = planned(context, trials=7)
    base, default, *others = trials_now(context.database, job)
    assert (base.origin, base.number, base.n) == (TrialOrigin.base, 0, 0)
    assert (default.origin, default.number, default.n, default.r) == (TrialOrigin.default, 1, 1, 16)
    assert {trial.origin for trial in others} == {TrialOrigin.initial}


def test_trials_are_split_into_steps_of_the_size_that_a_worker_trains_side_by_side(context: Context) -> None:
    job = planned(context, trials=7)
    evaluate = [step.id for step in steps_now(context.database, job) if step.kind == StepKind.evaluate]
    steps = [trial.step_id for trial in trials_now(context.database, job)]
    # The base trains nothing and rides along with the first two.
    assert steps == [evaluate[0]] * 3 + [evaluate[1]] * 2


@pytest.mark.parametrize("subspace", [*combinations(DIMENSIONS, 1), *combinations(DIMENSIONS, 2)])
def test_what_is_not_searched_stays_as_in_the_default_lora(context: Context, subspace: tuple[str, ...]) -> None:
    job = planned(context, subspace=list(subspace), trials=20)
    _, default, *others = trials_now(context.database, job)
    assert default.origin == TrialOrigin.default
    for dimension, field in (("layer", "layers"), ("num", "n"), ("size", "r")):
        tried = {getattr(trial, field) for trial in others}
        if dimension in subspace:
            assert len(tried) > 1
        else:
            assert tried == {getattr(default, field)}


def test_with_more_workers_more_trials_are_proposed_at_once(context: Context) -> None:
    context.settings = context.settings.model_copy(update={"parallel_steps": 2})
    job = planned(context, trials=10)
    while all(trial.origin != TrialOrigin.proposed for trial in trials_now(context.database, job)):
        assert run_next(context)
    proposed = [t for t in trials_now(context.database, job) if t.origin == TrialOrigin.proposed]
    assert len({trial.step_id for trial in proposed}) == 2
    assert job_now(context.database, job).trials_planned == 10


def test_samples_that_arrive_while_a_job_runs_do_not_disturb_its_split(context: Context) -> None:
    job = planned(context)
    before = job.split
    with context.database.write() as session:
        history.add_samples(session, TENANT, USER, samples(30, unlike="Later: "), 1000)
    run_all(context)
    ended = job_now(context.database, job)
    assert ended.status == "succeeded"
    assert ended.split is not None
    assert before is not None
    assert {name: ended.split[name] for name in before} == before
    assert ended.report is not None
    assert ended.report["samples"] == {"train": 12, "validation": 4, "test": 4}


def test_the_same_options_seed_and_history_replay_the_same_search(context: Context) -> None:
    add_person(context.database)
    add_person(context.database, user_id="twin")
    runs = []
    for user_id in (USER, "twin"):
        job = add_job(context.database, context.settings, user_id=user_id, trials=4, epochs=3)
        run_all(context)
        trials = trials_now(context.database, job)
        ended = job_now(context.database, job)
        runs.append((tried(trials), [(t.loss, t.rouge_l) for t in trials], ended.passes, ended.report))
    assert runs[0] == runs[1]
    assert runs[0][2] in (1, 2, 3)


def test_another_seed_tries_other_points(context: Context) -> None:
    found = []
    for seed in (1, 2):
        add_person(context.database, user_id=f"seed {seed}")
        job = add_job(context.database, context.settings, user_id=f"seed {seed}", seed=seed, trials=7)
        assert run_next(context)
        found.append(tried(trials_now(context.database, job)))
        with context.database.write() as session:
            jobs.cancel_job(session, jobs.get_job(session, TENANT, job.id))
    # The base and the default LoRA come first under any seed.
    assert [t[2:5] for t in found[0][:2]] == [t[2:5] for t in found[1][:2]]
    assert [t[2:5] for t in found[0][2:]] != [t[2:5] for t in found[1][2:]]


def test_a_search_out_of_time_publishes_and_says_so(context: Context) -> None:
    job = planned(context, trials=7, max_seconds=0.001)
    run_all(context)
    ended = job_now(context.database, job)
    assert ended.report is not None
    assert "seconds" in ended.report["stop_reason"]
    assert ended.trials_planned == len(trials_now(context.database, job)) < 7
    assert events_now(context.database, job, "report") == [ended.report]


def test_the_time_a_job_was_paused_does_not_count_for_its_limit(context: Context) -> None:
    job = planned(context, trials=4, max_seconds=3600)
    with context.database.write() as session:
        present = jobs.get_job(session, TENANT, job.id)
        jobs.pause_job(session, present)
        assert present.started_at is not None
        assert present.paused_at is not None
        # As if the pause had begun two hours ago.
        present.started_at -= timedelta(hours=2)
        present.paused_at -= timedelta(hours=2)
        jobs.resume_job(session, present)
    run_all(context)
    ended = job_now(context.database, job)
    assert ended.report is not None
    assert ended.report["stop_reason"] == "All 4 trials of the budget are done."
