"""This project's whole job: the service's own steps on a database of its own, from the first plan to the last trial.

Planning beside training, scoring after every pass and early stopping are in its time, as in a worker; publishing,
which peers have nothing like, is not. Must not know peers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from app.database import Database
from app.job_options import JobOptions
from app.job_states import StepKind, TrialOrigin
from app.repositories import history as histories
from app.repositories import jobs, trials, users
from app.settings import Settings
from app.tables import Job, Trial
from benchmarks.search.task import SEED, Task
from engine.configuration import Configuration
from engine.history import Sample
from workers.context import Context
from workers.in_process import run_job
from workers.proposer import Proposer
from workers.steps.trials import configuration_of

TENANT, USER = "benchmark", "somebody"


@dataclass(frozen=True)
class ServiceJob:
    """A job that tried all it wanted.

    Args:
        seconds: until the last trial was recorded.
        batches: what was tried, by step.
        passes: made by each trial that was trained.
    """

    seconds: float
    batches: list[list[Configuration]]
    passes: list[int]


def service_job(task: Task, trials: int, proposer: Proposer) -> ServiceJob:
    """One job of so many trials on the task's history, by the functions a worker runs."""
    with TemporaryDirectory(prefix="milp-bench-") as folder:
        settings = Settings(_env_file=None, data_dir=Path(folder), log_level="error")
        database = Database(settings.resolved_database_url)
        database.upgrade()
        context = Context(settings, proposer.ask)
        context.base = task.base
        # The preset with the larger design and patience: neither ends such a job early.
        options = JobOptions(seed=SEED, preset="standard", trials=trials).resolve(settings)
        with database.write() as session:
            users.ensure_user(session, TENANT, USER, task.history.profile)
            histories.add_samples(session, TENANT, USER, _samples(task), settings.max_history_samples)
            job = jobs.create_job(session, TENANT, USER, options)
        began = time.perf_counter()
        run_job(context, job, until=StepKind.publish)
        return _outcome(database, job, time.perf_counter() - began)


def _samples(task: Task) -> list[Sample]:
    split = task.history.split
    return [*split.train, *split.validation, *split.test]


def _outcome(database: Database, job: Job, seconds: float) -> ServiceJob:
    with database.read() as session:
        tried = trials.trials_of(session, TENANT, job.id)
    database.dispose()
    by_step: dict[int, list[Trial]] = {}
    for trial in tried:
        by_step.setdefault(trial.step_id, []).append(trial)
    return ServiceJob(seconds, [list(map(configuration_of, batch)) for batch in by_step.values()], passes_made(tried))


def passes_made(trials: Sequence[Trial]) -> list[int]:
    """By each trial but the base; none by one that failed, for where it did is not kept."""
    return [len((trial.scores or {}).get("curve", ())) for trial in trials if trial.origin != TrialOrigin.base]
