"""What lists and figures show beyond one row: counts for /metrics and for jobs, pages of trials, active users."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from sqlalchemy import ScalarSelect, func
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from app.job_states import FINAL, JobStatus, StepState, TrialState
from app.repositories import jobs
from app.repositories.paging import Page, page
from app.tables import Job, Step, Trial, User

_DONE = (TrialState.succeeded, TrialState.failed, TrialState.stopped)


def jobs_by_status(session: Session) -> dict[JobStatus, int]:
    """How many jobs of all tenants there are, by status."""
    rows = session.exec(select(Job.status, func.count(col(Job.id))).group_by(col(Job.status)))
    return {JobStatus(status): count for status, count in rows}


def steps_waiting(session: Session) -> int:
    """Steps of all tenants that wait for a worker; those of paused jobs do not."""
    statement = (
        select(func.count(col(Step.id)))
        .join(Job, col(Job.id) == col(Step.job_id))
        .where(Step.state == StepState.ready, Job.status != JobStatus.paused)
    )
    return session.exec(statement).one()


def trials_done(session: Session, tenant: str, job_ids: Sequence[str]) -> dict[str, int]:
    """Trials that have ended, well or not, of each of these jobs."""
    statement = (
        select(Trial.job_id, func.count(col(Trial.id)))
        .where(Trial.tenant_id == tenant, col(Trial.job_id).in_(job_ids), col(Trial.state).in_(_DONE))
        .group_by(col(Trial.job_id))
    )
    return dict(session.exec(statement).all())


def waits_for(session: Session, tenant: str, job_ids: Sequence[str]) -> dict[str, str]:
    """Of these jobs, those that wait for an older one of their user: the oldest that has not ended, paused or not."""
    statement = select(Job.id, _oldest_unfinished()).where(
        Job.tenant_id == tenant, col(Job.id).in_(job_ids), col(Job.status).not_in(FINAL)
    )
    return {job_id: older_id for job_id, older_id in session.exec(statement) if older_id is not None}


@cache
def _oldest_unfinished() -> ScalarSelect[str]:
    """The oldest job that `Job` waits for, in a query on `Job`. Made once: making it takes longer than asking it."""
    older = aliased(Job)
    oldest = select(older.id).where(*jobs.holds_up(older, Job)).order_by(col(older.created_at), col(older.id)).limit(1)
    return oldest.scalar_subquery()


def page_trials(session: Session, tenant: str, job_id: str, cursor: str | None, limit: int) -> Page[Trial]:
    """The job's trials by number. Raises: InvalidCursorError."""
    return page(
        session,
        select(Trial).where(Trial.tenant_id == tenant, Trial.job_id == job_id),
        [Trial.number],
        lambda trial: [trial.number],
        [int],
        cursor=cursor,
        limit=limit,
    )


def users_with_active_version(session: Session, tenant: str, limit: int) -> list[User]:
    """The tenant's users whose stack answers for them, by id."""
    statement = (
        select(User)
        .where(User.tenant_id == tenant, col(User.active_version_id).is_not(None))
        .order_by(col(User.user_id))
        .limit(limit)
    )
    return list(session.exec(statement))
