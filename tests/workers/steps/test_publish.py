"""The publish step: the report, the gate, the version and the pointer to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.job_states import JobStatus, StepKind
from app.repositories import history, steps, versions
from app.tables import now
from engine.evaluation import Evaluation
from engine.history import Sample
from tests.workers.helpers import (
    TENANT,
    USER,
    add_job,
    add_person,
    assert_only_versions_are_stored,
    job_now,
    run_all,
    run_until,
    samples,
    stored,
    trials_now,
    versions_now,
)
from tests.workers.steps.publishing import active, default_wins, diverging, published, published_stack, same
from workers.context import Context
from workers.search.winner import Winner
from workers.steps.measure import Measure
from workers.steps.publish import publish


def test_the_report_says_who_won_what_the_gate_decided_and_what_the_test_part_says(context: Context) -> None:
    job = published(context)
    report = job.report
    assert report is not None
    assert set(report) == {"winner", "passes", "gate", "activated", "stop_reason", "test", "samples", "pareto"}
    winner = trials_now(context.database, job)[report["winner"]["trial"]]
    assert {name: report["winner"][name] for name in ("layers", "n", "r")} == {
        "layers": winner.layers,
        "n": winner.n,
        "r": winner.r,
    }
    assert report["winner"]["reason"]
    assert report["passes"] == job.passes == 1
    assert report["winner"]["trial"] in report["pareto"]
    assert set(report["gate"]) == {"passed", "reason", "confidence", "samples", "against_base", "against_memory"}
    assert set(report["gate"]["against_base"]) == {"difference", "low", "high", "probability"}
    assert set(report["test"]) == {"base", "memory", "default_lora", "personalized"}
    for scores in report["test"].values():
        assert set(scores) == {"rouge_1", "rouge_l", "persona_f1", "loss"}
        assert all(value["low"] <= value["mean"] <= value["high"] for value in scores.values())
    assert report["samples"] == {"train": 12, "validation": 4, "test": 4}
    assert "2 trials" in report["stop_reason"]


def test_the_winner_is_published_whole_and_names_the_samples_of_train_and_validation_part(context: Context) -> None:
    job = published(context)
    (version,) = versions_now(context.database)
    assert job.report is not None
    assert (version.id, version.job_id) == (job.version_id, job.id)
    stack = context.store.load(version.path, context.base)
    assert stack.configuration.layer_bits == version.layers == job.report["winner"]["layers"]
    record = context.store.metadata(version.path)
    assert record["samples"] == [history.sample_digest(s.query, s.response) for s in samples()[:16]]
    assert record["seed"] == 7
    assert record["base"]["digest"] == version.base_digest == context.base.digest
    assert record["metrics"] == version.metrics
    assert version.passed_gate is job.report["gate"]["passed"]


@pytest.mark.parametrize(
    ("activate", "confidence", "is_active"),
    [
        ("always", 0.999999, True),
        ("never", 0.51, False),
    ],
)
def test_a_version_is_activated_as_the_options_say(
    context: Context, activate: str, confidence: float, is_active: bool
) -> None:
    context.settings = context.settings.model_copy(update={"gate_confidence": confidence})
    job = published(context, activate=activate)
    assert job.version_id is not None
    assert active(context) == (job.version_id if is_active else None)
    assert job.report is not None
    assert job.report["activated"] is is_active


def test_by_default_a_version_is_activated_if_and_only_if_it_passed_the_gate(context: Context) -> None:
    job = published(context)
    assert job.report is not None
    assert job.report["activated"] is job.report["gate"]["passed"]
    assert (active(context) == job.version_id) is job.report["gate"]["passed"]


def test_the_same_history_and_seed_again_give_the_same_version_once(context: Context) -> None:
    first = published(context)
    again = add_job(context.database, context.settings)
    run_all(context)
    assert job_now(context.database, again).version_id == first.version_id
    assert len(versions_now(context.database)) == 1
    with context.database.read() as session:
        kept = versions.get_version(session, TENANT, USER, first.version_id or "")
    assert kept.job_id == first.id


def marked(places: Sequence[int]) -> list[Sample]:
    """The usual samples, with a rare word in query and response of those at these places."""
    rare = "xylophone-7731 "
    return [Sample(rare + s.query, rare + s.response, s.time) if i in places else s for i, s in enumerate(samples())]


@pytest.mark.parametrize(
    ("places", "changes"), [([11], True), ([12], True), ([15], True), (range(16, 20), False)], ids=str
)
def test_the_published_stack_learned_train_and_validation_text_and_no_test_text(
    context: Context, monkeypatch: pytest.MonkeyPatch, places: Sequence[int], changes: bool
) -> None:
    default_wins(monkeypatch)
    plain = published_stack(context, samples(), "plain")
    assert same(published_stack(context, marked(places), "marked"), plain) is not changes


def test_a_version_that_a_killed_worker_stored_and_did_not_record_is_published_once(context: Context) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings, activate="always")
    step_id = run_until(context, StepKind.publish)
    with context.database.write() as session:
        held = steps.claim(session, step_id, "killed", lease_seconds=-1.0)
        assert held is not None
        _, step = steps.hold(session, held)
    # The worker has stored the version and is killed: nothing is recorded.
    lost = publish(context, job_now(context.database, job), step, lambda: False)
    assert lost.version is not None
    assert versions_now(context.database) == []
    kept = stored(context.settings)
    assert kept
    with context.database.write() as session:
        assert list(steps.release_expired(session, now(), 5)) == [step_id]
    run_all(context)
    (version,) = versions_now(context.database)
    assert (version.id, version.path) == (lost.version["id"], lost.version["path"])
    assert active(context) == version.id
    assert stored(context.settings) == kept
    assert_only_versions_are_stored(context.settings, context.database)


def test_a_default_lora_that_diverges_when_it_is_trained_anew_is_left_out_of_the_report(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.steps.report.choose_winner", lambda _observations, _base: Winner(2, "The other."))
    monkeypatch.setattr("workers.steps.publish.train_candidates", diverging("1"))
    job = published(context, trials=4)
    assert job.status is JobStatus.succeeded
    assert job.report is not None
    assert job.report["winner"]["trial"] == 2
    assert set(job.report["test"]) == {"base", "memory", "personalized"}
    assert [version.id for version in versions_now(context.database)] == [job.version_id]


def test_a_memory_prompt_without_a_finite_loss_is_left_out_of_the_report(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Measure.memory

    def overflowing(measure: Measure, *samples: Any) -> Evaluation:
        scores = memory(measure, *samples)
        return replace(scores, loss=[math.inf] * len(scores.loss))

    monkeypatch.setattr(Measure, "memory", overflowing)
    job = published(context)
    assert job.status is JobStatus.succeeded
    assert job.report is not None
    assert set(job.report["test"]) == {"base", "default_lora", "personalized"}
