"""Pauses: a paused job rests until it is resumed, and the time it rests does not count."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.database import Database
from app.errors import InvalidTransitionError
from app.job_states import JobStatus
from app.repositories import jobs
from app.tables import now
from tests.app.repositories.test_jobs import in_status, statuses_told, steps_of
from tests.support.records import add_job


def test_a_paused_job_goes_on_at_once_when_resumed(database: Database) -> None:
    with database.write() as session:
        job = add_job(session)
        (step,) = steps_of(session, job)
        step.sends, step.send_after = 9, now() + timedelta(hours=1)
        jobs.pause_job(session, job)
        with pytest.raises(InvalidTransitionError, match="is paused"):
            jobs.pause_job(session, job)
        assert steps_of(session, job)[0].sends == 9
        jobs.resume_job(session, job)
    with database.read() as session:
        assert jobs.get_job(session, "t", job.id).status is JobStatus.queued
        (step,) = steps_of(session, job)
        assert step.sends == 0
        assert step.send_after <= now()
        assert statuses_told(session, job) == ["queued", "paused", "queued"]


def test_only_a_paused_job_can_be_resumed(database: Database) -> None:
    with database.write() as session:
        for status in JobStatus:
            job = in_status(session, status)
            if status is not JobStatus.paused:
                with pytest.raises(InvalidTransitionError):
                    jobs.resume_job(session, job)
                assert job.status is status


def test_the_time_a_job_is_paused_is_no_time_at_work(database: Database) -> None:
    hour = timedelta(hours=1)
    with database.write() as session:
        job = add_job(session)
        # Paused before it starts, it has not begun to count.
        jobs.pause_job(session, job)
        job.paused_at = now() - hour
        jobs.resume_job(session, job)
        assert (job.paused_seconds, jobs.seconds_at_work(job, now() + hour)) == (0.0, 0.0)
        jobs.set_status(session, job, JobStatus.planning)
        assert job.started_at is not None
        start = job.started_at
        for hours_paused in (2, 3):
            jobs.pause_job(session, job)
            assert job.paused_at is not None
            # While it is paused, its time at work stands still.
            before = jobs.seconds_at_work(job, job.paused_at)
            assert jobs.seconds_at_work(job, job.paused_at + hour) == pytest.approx(before)
            job.paused_at -= hours_paused * hour
            jobs.resume_job(session, job)
            assert job.paused_at is None
        paused = timedelta(seconds=job.paused_seconds)
        assert paused >= 5 * hour
        assert jobs.seconds_at_work(job, start + paused + hour) == pytest.approx(3600)
