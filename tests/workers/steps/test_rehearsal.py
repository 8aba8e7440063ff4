"""The winner rehearsed without the validation part: the gate sees what is to be published, not a trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.job_options import ResolvedOptions
from app.job_states import JobStatus, StepKind, TrialOrigin
from app.repositories import trials as trial_rows
from app.tables import Job, Trial
from engine.averaging import average_stacks
from engine.configuration import Configuration
from engine.evaluation import Evaluation, evaluate_stacks
from engine.training import Candidate, Course, TrainedCandidate, train_candidates
from tests.workers.helpers import (
    TENANT,
    add_job,
    add_person,
    assert_ended_well,
    assert_only_versions_are_stored,
    job_now,
    run_all,
    run_until,
    samples,
    trials_now,
    versions_now,
)
from workers.context import Context
from workers.search.gate import decide
from workers.search.winner import Winner
from workers.steps.averaged import members_of
from workers.steps.evaluate import training_settings

TRAIN, VALIDATION = samples()[:12], samples()[12:16]


@pytest.fixture(autouse=True)
def default_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.steps.report.choose_winner", lambda _all, _base: Winner(1, "The test wants it."))


@pytest.fixture
def context(context: Context) -> Context:
    context.settings = context.settings.model_copy(update={"trial_epochs": 1, "averaged": 2})
    return context


def to_publish(context: Context, **options: Any) -> Job:
    """A job whose search has ended."""
    add_person(context.database)
    job = add_job(context.database, context.settings, **options)
    run_until(context, StepKind.publish)
    return job


def ended(context: Context, job: Job) -> dict[str, Any]:
    """The report of a job that ran to its end."""
    run_all(context)
    report = job_now(context.database, job).report
    assert report is not None
    return report


def rehearsed(context: Context, job: Job) -> Evaluation:
    """What the average of the winner's trainings answers on validation, made without the service."""
    winner = trials_now(context.database, job)[1]
    candidate = Candidate("1", Configuration.default_lora(context.base.n_layers), winner.seed)
    settings = training_settings(ResolvedOptions(**job_now(context.database, job).options))
    course = Course(TRAIN, settings, profile="Keeps a garden.", order_seed=7)
    trained = train_candidates(context.base, members_of(candidate, 2), course)
    average = average_stacks([one.stack for one in trained if one.stack is not None])
    (scores,) = evaluate_stacks(
        context.base,
        [average],
        VALIDATION,
        train=TRAIN,
        profile="Keeps a garden.",
        max_new_tokens=context.settings.max_new_tokens,
        max_sequence_tokens=48,
    )
    return scores


def test_the_gate_sees_what_the_average_of_whole_trainings_answers(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Sequence[float]] = []

    def watched(winner: Sequence[float], *others: Any) -> Any:
        shown.append(winner)
        return replace(decide(winner, *others), is_open=False)

    monkeypatch.setattr("workers.steps.verdict.decide", watched)
    job = to_publish(context, epochs=3)
    ended(context, job)
    expected = rehearsed(context, job)
    assert shown == [expected.rouge_l]
    (version,) = versions_now(context.database)
    assert version.metrics["validation"]["rouge_l"] == pytest.approx(sum(expected.rouge_l) / 4)
    assert version.metrics["validation"]["loss"] == pytest.approx(sum(expected.loss) / 4)


def test_a_winner_that_diverges_from_every_seed_in_the_rehearsal_fails_the_job_with_a_reason(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*positional: Any, **named: Any) -> list[TrainedCandidate]:
        trained = train_candidates(*positional, **named)
        return [replace(one, stack=None, error="training diverged") for one in trained]

    monkeypatch.setattr("workers.steps.rehearsal.train_candidates", train)
    job = to_publish(context)
    run_all(context)
    failed = job_now(context.database, job)
    assert failed.status is JobStatus.failed
    assert failed.error is not None
    assert failed.error["code"] == "training_diverged"
    assert "lower learning_rate" in failed.error["detail"]
    assert versions_now(context.database) == []


def test_a_job_that_began_when_every_pass_was_scored_goes_on_and_is_published(context: Context) -> None:
    def as_then(trial: Trial) -> dict[str, Any]:
        last = {name: (trial.scores or {})[name] for name in ("loss", "rouge_l")}
        earlier = {name: [value + 1.0 for value in values] for name, values in last.items()}
        return {"passes": [last] if trial.origin == TrialOrigin.base else [earlier, last]}

    add_person(context.database)
    job = add_job(context.database, context.settings, trials=4, epochs=2)
    run_until(context, StepKind.evaluate)
    run_until(context, StepKind.plan)
    with context.database.write() as session:
        row = session.get_one(Job, job.id)
        row.options = {name: value for name, value in row.options.items() if name != "trial_epochs"}
        row.passes = 1
        session.add(row)
        for trial in trial_rows.trials_of(session, TENANT, job.id):
            trial.scores = as_then(trial)
            session.add(trial)
    before = [(trial.loss, trial.rouge_l) for trial in trials_now(context.database, job)]
    assert ended(context, job)["passes"] == 2
    assert_ended_well(context.database, job, trials=4)
    assert_only_versions_are_stored(context.settings, context.database)
    *old, new = trials_now(context.database, job)
    assert [(trial.loss, trial.rouge_l) for trial in old] == before
    assert len((new.scores or {})["curve"]) == 2
