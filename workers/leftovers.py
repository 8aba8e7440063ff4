"""What jobs leave in the store: trained trials nobody needs any more, or a version nobody knows of.

Failing here costs space, never a job. Trials that a row names are tried again when the next job ends; those that none
names, for their worker was killed before it could record them, when the next step of a job of that user does.
"""

from __future__ import annotations

import structlog
from sqlalchemy import update
from sqlmodel import col, select

from adapters_store.errors import StoreError
from app.errors import DatabaseAwayError
from app.job_states import FINAL, TrialState
from app.repositories import trials as trial_rows
from app.tables import Job, Trial
from workers.context import Context
from workers.failures import StepFailedError
from workers.steps.outcome import Outcome
from workers.steps.plan import Plan
from workers.steps.report import choose_finalists
from workers.steps.trials import in_state

log = structlog.get_logger(__name__)


def clean_up(context: Context, job: Job, outcome: Outcome | None) -> None:
    """Called after every step: remove what its job needs no more, and, if it is over, what it and others left.

    Raises nothing: what goes wrong is logged.

    Args:
        job: the step's job as it was before the step.
        outcome: what the step found, whether or not it could be recorded.
    """
    try:
        with context.database.read() as session:
            present = session.get(Job, job.id)
        if present is not None and present.status not in FINAL:
            if isinstance(outcome, Plan):
                drop_dominated_trials(context, present)
                drop_forgotten_trials(context, job.tenant_id, job.user_id)
            return
        if outcome is not None:
            outcome.discard(context, job)
        # No row may name them: the job ended between their training and the end of their step.
        context.store.drop_trials(job.tenant_id, job.user_id, job.id)
        drop_forgotten_trials(context, job.tenant_id, job.user_id)
        drop_trials_of_ended_jobs(context)
    except (StoreError, DatabaseAwayError) as error:
        log.warning("leftovers_stay", job=job.id, reason=str(error))
    except Exception as error:
        # The step has ended and is recorded: whatever is wrong here must not look like a failure of it.
        log.error("leftovers_stay", job=job.id, error=type(error).__name__, exc_info=error)


def drop_dominated_trials(context: Context, job: Job) -> None:
    """Remove the trained trials of a running job that cannot win any more, nor are the default LoRA's.

    The winner lies on the Pareto front, and what is off the front stays off it. A stack of a large base takes
    gigabytes, so keeping all of a search would fill a disk. What goes is named, not what stays: a worker that stalls
    in here may be overtaken, and must not touch a trial that it has not seen end.

    Raises:
        StoreError, DatabaseAwayError: some are left.
    """
    with context.database.read() as session:
        trials = trial_rows.trials_of(session, job.tenant_id, job.id)
    if not any(trial.artifact for trial in trials):
        return
    try:
        finalists = choose_finalists(in_state(trials, TrialState.succeeded))
    except StepFailedError:
        # Without the base's scores there is no winner; if it failed, the next plan step tells the user.
        return
    ended = {trial.number for trial in trials if trial.state != TrialState.planned}
    dominated = ended - {*finalists.pareto, finalists.default.number if finalists.default else 0}
    context.store.drop_trials(job.tenant_id, job.user_id, job.id, dominated)
    with context.database.write() as session:
        dropped = (col(Trial.job_id) == job.id, col(Trial.number).in_(dominated))
        session.exec(update(Trial).where(*dropped).values(artifact=None))


def drop_forgotten_trials(context: Context, tenant: str, user_id: str) -> None:
    """Remove whatever trials the store keeps of this user's jobs that are over or deleted, named by a row or not.

    Raises:
        StoreError, DatabaseAwayError: some are left.
    """
    # The store is read first: a job found there was in the database before, so if it is not now, it is deleted.
    stored = context.store.jobs_with_trials(tenant, user_id)
    with context.database.read() as session:
        mine = select(Job.id).where(Job.tenant_id == tenant, Job.user_id == user_id, col(Job.id).in_(stored))
        unfinished = set(session.exec(mine.where(col(Job.status).not_in(FINAL))))
    for job_id in stored:
        if job_id not in unfinished:
            context.store.drop_trials(tenant, user_id, job_id)


def drop_trials_of_ended_jobs(context: Context) -> None:
    """Remove the trained trials that rows of jobs that are over name: their worker died right before doing so.

    Raises:
        StoreError, DatabaseAwayError: some are left.
    """
    with_trials = select(Trial.job_id).where(col(Trial.artifact).is_not(None))
    with context.database.read() as session:
        ended = session.exec(select(Job).where(col(Job.id).in_(with_trials), col(Job.status).in_(FINAL))).all()
    for job in ended:
        context.store.drop_trials(job.tenant_id, job.user_id, job.id)
        with context.database.write() as session:
            session.exec(update(Trial).where(col(Trial.job_id) == job.id).values(artifact=None))
