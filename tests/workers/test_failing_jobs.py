"""Jobs that cannot go on: each ends with a code and words a user can act on, or goes on once it can again."""

from __future__ import annotations

import errno
import math
import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.job_states import JobStatus, StepKind, StepState
from app.repositories import history
from app.settings import Settings
from app.tables import Job, Step, now
from engine.base import Base
from engine.evaluation import Evaluation, evaluate_stacks
from engine.stack import Stack
from tests.workers.helpers import (
    TENANT,
    USER,
    add_job,
    add_person,
    assert_ended_well,
    assert_only_versions_are_stored,
    events_now,
    job_now,
    run_all,
    run_until,
    samples,
    steps_now,
    stored,
    trials_now,
    versions_now,
)
from workers.context import Context
from workers.runner import RETRY_SECONDS, run_step


def failed(context: Context, job: Job) -> dict[str, Any]:
    """The error of a job that failed."""
    ended = job_now(context.database, job)
    assert ended.status is JobStatus.failed
    assert ended.error is not None
    assert "Traceback" not in ended.error["detail"]
    assert events_now(context.database, job, "error") == [ended.error]
    return ended.error


class Disk:
    """The disk under `os.fsync`: while it is full, small files still fit, larger ones fail when flushed."""

    def __init__(self) -> None:
        self.full = False
        self.refused = 0
        self._fsync = os.fsync

    def fsync(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        if self.full and stat.S_ISREG(found.st_mode) and found.st_size > 10_000:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._fsync(descriptor)


def with_an_overflowing_base(base: Base, stacks: Sequence[Stack | None], *samples: Any, **how: Any) -> list[Evaluation]:
    """Real scores, but for the base's loss."""
    scores = evaluate_stacks(base, stacks, *samples, **how)
    return [
        replace(score, loss=[math.inf] * len(score.loss)) if stack is None else score
        for stack, score in zip(stacks, scores, strict=True)
    ]


def test_too_short_a_history_fails_the_job_with_a_reason(context: Context) -> None:
    add_person(context.database, samples(19))
    job = add_job(context.database, context.settings)
    run_all(context)
    error = failed(context, job)
    assert error["code"] == "history_too_short"
    assert "19" in error["detail"]


def test_a_history_deleted_while_the_job_runs_fails_it_with_a_reason(context: Context) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings)
    run_until(context, StepKind.evaluate)
    with context.database.write() as session:
        history.delete_history(session, TENANT, USER)
    run_all(context)
    assert failed(context, job)["code"] == "history_deleted"


def test_a_base_model_folder_that_is_none_fails_the_job_with_a_reason(
    sqlite_settings: Settings, tmp_path: Path
) -> None:
    context = Context(sqlite_settings.model_copy(update={"base_model": str(tmp_path)}))
    add_person(context.database)
    job = add_job(context.database, context.settings)
    run_all(context)
    assert failed(context, job)["code"] == "base_model_unusable"
    context.database.dispose()


def test_a_base_without_a_finite_loss_fails_the_job_before_anything_more_is_tried(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings, trials=4)
    monkeypatch.setattr("workers.steps.measure.evaluate_stacks", with_an_overflowing_base)
    run_all(context)
    error = failed(context, job)
    assert error["code"] == "base_failed"
    assert "MILP_DTYPE=float32" in error["detail"]
    assert {trial.round for trial in trials_now(context.database, job)} == {0}
    assert {step.kind for step in steps_now(context.database, job)} == {StepKind.plan, StepKind.evaluate}
    assert stored(context.settings) == []


def test_a_store_that_is_away_is_tried_again_until_it_is_back(context: Context) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings)
    step_id = run_until(context, StepKind.publish)
    context.settings.data_dir.mkdir(parents=True, exist_ok=True)
    in_the_way = context.settings.data_dir / "store"
    in_the_way.write_text("a file where the store's folder should be")
    assert run_step(context, step_id)
    with context.database.read() as session:
        step = session.get_one(Step, step_id)
        assert (step.state, step.attempt) == (StepState.ready, 1)
        assert step.send_after > now()
    in_the_way.unlink()
    run_all(context)
    assert_ended_well(context.database, job)
    assert_only_versions_are_stored(context.settings, context.database)


def test_a_store_that_stays_away_fails_the_job_with_a_reason(context: Context) -> None:
    context.settings = context.settings.model_copy(update={"max_attempts": 2})
    add_person(context.database)
    job = add_job(context.database, context.settings)
    run_until(context, StepKind.publish)
    context.settings.data_dir.mkdir(parents=True, exist_ok=True)
    (context.settings.data_dir / "store").write_text("a file where the store's folder should be")
    run_all(context)
    assert failed(context, job)["code"] == "store_unavailable"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr("os.fsync", made.fsync)
    return made


def test_a_disk_that_stays_full_while_publishing_fails_the_job_and_shows_nothing_half_written(
    context: Context, disk: Disk
) -> None:
    context.settings = context.settings.model_copy(update={"max_attempts": 3})
    add_person(context.database)
    job = add_job(context.database, context.settings)
    step_id = run_until(context, StepKind.publish)
    disk.full = True
    for attempt in (1, 2):
        began = now()
        assert run_step(context, step_id)
        with context.database.read() as session:
            step = session.get_one(Step, step_id)
        assert (step.state, step.attempt) == (StepState.ready, attempt)
        # Each pause is longer than the one before it.
        assert step.send_after >= began + timedelta(seconds=RETRY_SECONDS * attempt)
        assert job_now(context.database, job).status is JobStatus.publishing
        assert versions_now(context.database) == []
        assert stored(context.settings) == []
    assert run_step(context, step_id)
    error = failed(context, job)
    assert error["code"] == "store_unavailable"
    assert "no space is left" in error["detail"]
    assert "free some space and start again" in error["detail"]
    assert disk.refused == 3
    assert versions_now(context.database) == []
    assert stored(context.settings) == []


def test_a_disk_that_has_room_again_lets_the_job_publish(context: Context, disk: Disk) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings)
    step_id = run_until(context, StepKind.publish)
    disk.full = True
    assert run_step(context, step_id)
    disk.full = False
    run_all(context)
    assert disk.refused == 1
    assert_ended_well(context.database, job)
    (version,) = versions_now(context.database)
    assert context.store.load(version.path, context.base).parameters > 0


def test_what_nobody_foresaw_fails_the_job_without_telling_our_insides(context: Context) -> None:
    context.settings = context.settings.model_copy(update={"max_attempts": 2})
    add_person(context.database)
    job = add_job(context.database, context.settings)
    with context.database.write() as session:
        session.get_one(Job, job.id).options = {"preset": "of another version"}
    run_all(context)
    error = failed(context, job)
    assert error["code"] == "internal_error"
    assert "validation" not in error["detail"]
    assert [step.attempt for step in steps_now(context.database, job)] == [2]
