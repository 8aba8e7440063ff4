"""The publish step: the report, the gate, the version and the pointer to it."""

from __future__ import annotations

from typing import Any

import pytest

from app.job_states import StepKind, TrialOrigin
from app.repositories import history, users, versions
from app.tables import Job
from tests.workers.helpers import (
    TENANT,
    USER,
    add_job,
    add_person,
    job_now,
    run_all,
    run_until,
    samples,
    trials_now,
    versions_now,
)
from workers.context import Context


def published(context: Context, **options: Any) -> Job:
    add_person(context.database)
    job = add_job(context.database, context.settings, **options)
    run_all(context)
    return job_now(context.database, job)


def active(context: Context) -> str | None:
    with context.database.read() as session:
        return users.get_user(session, TENANT, USER).active_version_id


def test_the_report_says_who_won_what_the_gate_decided_and_what_the_test_part_says(context: Context) -> None:
    job = published(context)
    report = job.report
    assert report is not None
    assert set(report) == {"winner", "gate", "activated", "stop_reason", "test", "samples", "pareto"}
    winner = trials_now(context.database, job)[report["winner"]["trial"]]
    assert {name: report["winner"][name] for name in ("layers", "n", "r")} == {
        "layers": winner.layers,
        "n": winner.n,
        "r": winner.r,
    }
    assert report["winner"]["reason"]
    assert report["winner"]["trial"] in report["pareto"]
    assert set(report["gate"]) == {"passed", "reason", "confidence", "against_base", "against_memory"}
    assert set(report["gate"]["against_base"]) == {"difference", "low", "high", "probability"}
    assert set(report["test"]) == {"base", "memory", "default_lora", "personalized"}
    for scores in report["test"].values():
        assert set(scores) == {"rouge_1", "rouge_l", "persona_f1", "loss"}
        assert all(value["low"] <= value["mean"] <= value["high"] for value in scores.values())
    assert report["samples"] == {"train": 14, "validation": 2, "test": 4}
    assert "2 trials" in report["stop_reason"]


def test_the_winner_is_published_whole_and_remembers_only_what_it_was_trained_on(context: Context) -> None:
    job = published(context)
    (version,) = versions_now(context.database)
    assert job.report is not None
    assert (version.id, version.job_id) == (job.version_id, job.id)
    stack = context.store.load(version.path, context.base)
    assert stack.configuration.layer_bits == version.layers == job.report["winner"]["layers"]
    record = context.store.metadata(version.path)
    assert record["samples"] == [history.sample_digest(s.query, s.response) for s in samples()[:14]]
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


def test_a_lost_trial_fails_the_job_with_a_reason(context: Context) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings, trials=2)
    run_until(context, StepKind.publish)
    (default,) = [t for t in trials_now(context.database, job) if t.origin == TrialOrigin.default]
    assert default.artifact is not None
    context.store.drop_trials(TENANT, USER, job.id)
    run_all(context)
    error = job_now(context.database, job).error
    assert error is not None
    assert error["code"] == "trial_unusable"
    assert versions_now(context.database) == []
