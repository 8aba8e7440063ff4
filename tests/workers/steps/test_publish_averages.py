"""What is published is an average of several trainings of the winner, where several are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.job_options import ResolvedOptions
from app.job_states import JobStatus
from app.tables import Job
from engine.averaging import average_stacks
from engine.base import Base
from engine.configuration import Configuration
from engine.training import Candidate, Course, TrainedCandidate, train_candidates
from tests.workers.helpers import (
    add_job,
    add_person,
    events_now,
    job_now,
    run_all,
    samples,
    stored,
    trials_now,
    versions_now,
)
from tests.workers.steps.publishing import active, default_wins, diverging, published, published_stack, same
from workers.context import Context
from workers.search.seeds import derive_seed
from workers.steps.evaluate import training_settings


@pytest.fixture
def two_members(context: Context) -> None:
    """Winners are the average of two trainings."""
    context.settings = context.settings.model_copy(update={"averaged": 2})


def test_the_published_stack_is_the_average_of_the_winner_trained_anew_for_all_passes(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    default_wins(monkeypatch)
    context.settings = context.settings.model_copy(update={"averaged": 3, "trial_epochs": 1})
    job = published(context, epochs=2)
    assert job.report is not None
    assert job.report["passes"] == 2
    winner = trials_now(context.database, job)[1]
    candidate = Candidate("1", Configuration.default_lora(context.base.n_layers), winner.seed)
    settings = training_settings(ResolvedOptions(**job.options))
    course = Course(samples()[:16], settings, profile="Keeps a garden.", order_seed=7)
    others = ((derive_seed(winner.seed, "member", k), derive_seed(winner.seed, "order", k)) for k in range(1, 3))
    members = [candidate, *(replace(candidate, seed=seed, order_seed=order) for seed, order in others)]
    stacks = [one.stack for one in train_candidates(context.base, members, course) if one.stack is not None]
    assert len(stacks) == 3
    (version,) = versions_now(context.database)
    assert same(context.store.load(version.path, context.base), average_stacks(stacks))


@pytest.mark.usefixtures("two_members")
def test_a_winner_that_diverges_from_every_seed_when_it_is_trained_anew_fails_the_job_with_a_reason(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    default_wins(monkeypatch)
    monkeypatch.setattr("workers.steps.publish.train_candidates", diverging("1", "1.1"))
    job = published(context, activate="always")
    assert job.status is JobStatus.failed
    assert job.error is not None
    assert job.error["code"] == "training_diverged"
    assert "from every seed" in job.error["detail"]
    assert "lower learning_rate" in job.error["detail"]
    assert events_now(context.database, job, "error") == [job.error]
    assert (active(context), versions_now(context.database), stored(context.settings)) == (None, [], [])


@pytest.mark.usefixtures("two_members")
def test_a_winner_that_diverges_from_some_seeds_is_published_as_the_average_of_the_others(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    default_wins(monkeypatch)
    whole = published_stack(context, samples(), "whole")
    monkeypatch.setattr("workers.steps.publish.train_candidates", diverging("1"))
    of_one = published_stack(context, samples(), "one")
    assert of_one.configuration == whole.configuration
    assert not same(of_one, whole)


@pytest.mark.usefixtures("two_members")
def test_a_job_from_before_winners_were_averaged_publishes_a_single_training(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    default_wins(monkeypatch)
    add_person(context.database)
    job = add_job(context.database, context.settings)
    with context.database.write() as session:
        row = session.get_one(Job, job.id)
        row.options = {k: value for k, value in row.options.items() if k not in ("averaged", "trial_epochs")}
        session.add(row)
    run_all(context)
    report = job_now(context.database, job).report
    assert report is not None
    assert report["test"]["default_lora"] == report["test"]["personalized"]


@pytest.mark.usefixtures("two_members")
def test_a_default_lora_that_won_is_not_trained_once_more_to_compare_with(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[list[str]] = []

    def train_and_note(base: Base, candidates: Sequence[Candidate], *more: Any, **named: Any) -> list[TrainedCandidate]:
        trained.append([candidate.key for candidate in candidates])
        return train_candidates(base, candidates, *more, **named)

    default_wins(monkeypatch)
    monkeypatch.setattr("workers.steps.publish.train_candidates", train_and_note)
    job = published(context)
    assert trained == [["1", "1.1"]]
    # What the report compares with is the ordinary default LoRA, one training.
    assert job.report is not None
    assert job.report["test"]["default_lora"]["loss"] != job.report["test"]["personalized"]["loss"]
