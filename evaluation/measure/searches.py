"""Searches as the service runs them: a job for each, by the steps of a worker, on a database and store of the run.

A run that was interrupted goes on with the job it left. Must not know methods or tables.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlmodel import Session, col, select

from app.job_options import JobOptions
from app.job_states import JobStatus, TrialState
from app.repositories import history, jobs, trials, users, versions
from app.settings import Settings
from app.tables import Job, Trial
from engine.base import Base
from engine.stack import Stack
from evaluation.measure.designs import share_design
from evaluation.measure.people import Person
from workers.context import Context
from workers.in_process import run_job
from workers.proposer import Proposer

TENANT = "evaluation"


class SearchFailedError(Exception):
    """A job ended without a report; the message says why."""


@dataclass(frozen=True)
class Search:
    """What a job found.

    Args:
        stack: the published winner's; None where the base itself won.
        activated: whether the gate let it answer.
        seconds: from its first step to its last, shared trials too.
        winner: the winning trial's number.
        passes: over the train part, that the search chose.
        trials: see `evaluation.rows.SearchRecord`.
    """

    stack: Stack | None
    activated: bool
    seconds: float
    winner: int
    passes: int | None
    trials: list[dict[str, Any]]


class Searches:
    """Runs jobs for one base in one folder. Use it in a `with` block: the proposer is a process.

    Args:
        folder: of database and store; kept, so that other users' stacks can be asked for later.
    """

    def __init__(self, folder: Path, base_name: str) -> None:
        # Whatever the environment names for the service: this database and store are the run's own.
        self._settings = Settings(
            _env_file=None, data_dir=folder, database_url="", store_url="", base_model=base_name, log_level="error"
        )
        self._proposer = Proposer()
        self._context = Context(self._settings, self._proposer.ask)

    def __enter__(self) -> Self:
        self._context.database.upgrade()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._proposer.close()
        self._context.database.dispose()

    @property
    def base(self) -> Base:
        return self._context.base

    @property
    def settings(self) -> Settings:
        return self._settings

    def search(
        self,
        person: Person,
        name: str,
        options: JobOptions,
        on_trials: Callable[[int], None] = lambda _done: None,
        like: str | None = None,
    ) -> Search:
        """A job on this person's history, run to its end; what it found, if it was run before.

        Args:
            name: tells this search of the person from others, with another method, variant or seed.
            like: the name of a search whose initial design is this one's too, where it was run here before.
            on_trials: called with the number of trials that ended, after each step.

        Raises:
            SearchFailedError: the job failed.
        """
        user = _user_id(person, name)
        with self._context.database.write() as session:
            job = self._job(session, person, user, options, like)

        def tell() -> None:
            with self._context.database.read() as session:
                found = trials.trials_of(session, TENANT, job.id)
            on_trials(sum(trial.state != TrialState.planned for trial in found))

        run_job(self._context, job, on_step=tell)
        return self._found(job.id)

    def _job(self, session: Session, person: Person, user: str, options: JobOptions, like: str | None) -> Job:
        left = _latest(session, user)
        if left is not None and left.status != JobStatus.failed:
            return left
        users.ensure_user(session, TENANT, user, person.profile)
        parts = {
            "train": person.split.train,
            "validation": person.split.validation,
            "test": person.split.test,
        }
        everything = [sample for part in parts.values() for sample in part]
        history.add_samples(session, TENANT, user, everything, self._settings.max_history_samples)
        ids = history.ids_by_digest(session, TENANT, user)
        job = jobs.create_job(session, TENANT, user, options.resolve(self._settings))
        # The split is the person's: with a shortened train part it is not the one that the service would make.
        job.split = {
            part: [ids[history.sample_digest(sample.query, sample.response)] for sample in samples]
            for part, samples in parts.items()
        }
        other = _latest(session, _user_id(person, like)) if like is not None else None
        if other is not None and other.status == JobStatus.succeeded:
            share_design(session, job, other)
        return job

    def _found(self, job_id: str) -> Search:
        with self._context.database.read() as session:
            job = jobs.get_job(session, TENANT, job_id)
            tried = trials.trials_of(session, TENANT, job_id)
            version = versions.get_version(session, TENANT, job.user_id, job.version_id) if job.version_id else None
        if job.report is None:
            raise SearchFailedError(f"the search failed: {(job.error or {}).get('detail', job.status.value)}")
        stack = None if version is None else self._context.store.load(version.path, self.base)
        seconds = jobs.seconds_at_work(job, job.finished_at) if job.finished_at else 0.0
        if job.started_at is not None:
            # Trials that ended before the job began are another's.
            seconds += sum(t.seconds or 0.0 for t in tried if t.finished_at and t.finished_at < job.started_at)
        report = job.report
        return Search(
            stack=stack,
            activated=bool(report["activated"]),
            seconds=seconds,
            winner=int(report["winner"]["trial"]),
            passes=report["passes"],
            trials=list(map(_told, tried)),
        )


def _user_id(person: Person, name: str) -> str:
    told = "\n".join([person.set, person.user, name])
    return f"s-{hashlib.sha256(told.encode()).hexdigest()[:32]}"


def _latest(session: Session, user: str) -> Job | None:
    mine = select(Job).where(Job.tenant_id == TENANT, Job.user_id == user)
    return session.exec(mine.order_by(col(Job.created_at).desc()).limit(1)).one_or_none()


def _told(trial: Trial) -> dict[str, Any]:
    names = ("number", "layers", "n", "r", "parameters", "loss", "loss_se", "rouge_l", "rouge_l_se", "seconds")
    return {
        "origin": trial.origin.value,
        "state": trial.state.value,
        **{name: getattr(trial, name) for name in names},
        "curve": (trial.scores or {}).get("curve", []),
    }
