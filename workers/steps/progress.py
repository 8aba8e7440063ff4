"""Telling those who follow a job how its present training goes, at most once a second."""

from __future__ import annotations

import time
from collections.abc import Sequence

import structlog

from app.database import Database
from app.errors import DatabaseAwayError, JobNotFoundError
from app.job_states import TrialState
from app.repositories import events, jobs
from app.tables import Job, Step, Trial
from workers.steps.trials import seconds_left

EVERY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Progress:
    """Called after every optimiser step with (steps done, steps in all).

    Args:
        trials: those in training.
        everything: all trials of the job.
        at_once: steps of the job that may run side by side.
    """

    def __init__(
        self,
        database: Database,
        job: Job,
        step: Step,
        trials: Sequence[Trial],
        everything: Sequence[Trial],
        at_once: int,
    ) -> None:
        self._database = database
        self._job = job
        self._round = step.round
        self._trials = trials
        self._everything = everything
        self._at_once = at_once
        self._began = self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        moment = time.monotonic()
        if moment - self._told < EVERY_SECONDS:
            return
        self._told = moment
        try:
            self._tell(done, total, moment - self._began)
        except (DatabaseAwayError, JobNotFoundError) as error:
            # The work goes on: whether the job is still ours is for the lease to find out.
            log.info("progress_not_told", job=self._job.id, reason=error.detail)

    def _tell(self, done: int, total: int, elapsed: float) -> None:
        left = seconds_left(self._everything, self._job.trials_planned, self._at_once)
        if left is None:
            # No trial has ended yet: what this step's training will take tells how long all of them will.
            training = elapsed * total / done / max(1, len(self._trials))
            left = training * self._job.trials_planned / self._at_once
        left = max(0.0, left - elapsed / self._at_once)
        data = {
            "round": self._round,
            "trials": [trial.number for trial in self._trials],
            "steps_done": done,
            "steps_total": total,
            "trials_done": sum(trial.state != TrialState.planned for trial in self._everything),
            "trials_planned": self._job.trials_planned,
            "seconds_left": left,
        }
        with self._database.write() as session:
            job = jobs.get_job(session, self._job.tenant_id, self._job.id)
            jobs.lock_job(session, job)
            if job.status.is_final:
                return
            job.seconds_left = left
            session.add(job)
            events.append(session, job, "progress", data)
