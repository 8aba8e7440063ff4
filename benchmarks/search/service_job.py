"""This project's whole job: the service's own steps on a database of its own.

Planning beside training, the loss after every pass and early stopping are in its time, as in a worker; publishing,
which peers have nothing like, is not where it is set beside theirs. Must not know peers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from app.database import Database
from app.job_options import JobOptions
from app.job_states import StepKind, TrialOrigin, TrialState
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
from workers.steps.trials import configuration_of, observation_of

TENANT, USER = "benchmark", "somebody"


@dataclass(frozen=True)
class ServiceJob:
    """A job that has ended.

    Args:
        seconds: of the job, to where it was to end.
        batches: what was tried, by step.
        passes: made by each trial that was trained.
        losses: on validation, of each trial that made every pass and of the base, by its place in `batches` end to end.
    """

    seconds: float
    batches: list[list[Configuration]]
    passes: list[int]
    losses: dict[int, float]


def service_job(
    task: Task, trials: int | None, proposer: Proposer, until: StepKind | None = StepKind.publish
) -> ServiceJob:
    """One job on the task's history, by the functions a worker runs; it learns the task's share of the samples.

    Args:
        trials: how many; None: as many as the standard preset has.
        until: where it ends; None: as a job does, its winner published.
    """
    with TemporaryDirectory(prefix="milp-bench-") as folder:
        share = task.settings.typical_share
        settings = Settings(_env_file=None, data_dir=Path(folder), log_level="error", typical_share=share)
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
        run_job(context, job, until=until)
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
    in_order = [trial for batch in by_step.values() for trial in batch]
    return ServiceJob(
        seconds,
        [list(map(configuration_of, batch)) for batch in by_step.values()],
        passes_made(tried),
        losses(in_order),
    )


def passes_made(trials: Sequence[Trial]) -> list[int]:
    """By each trial but the base; none by one that failed, for where it did is not kept."""
    return [len((trial.scores or {}).get("curve", ())) for trial in trials if trial.origin != TrialOrigin.base]


def losses(tried: Sequence[Trial]) -> dict[int, float]:
    """Mean validation losses by the trials' places; of one that was stopped early there is a forecast only."""
    return {
        place: observation_of(trial).loss for place, trial in enumerate(tried) if trial.state == TrialState.succeeded
    }
