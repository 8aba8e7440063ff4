"""What lists and figures show beyond one row: counts for /metrics and for jobs, pages of trials, active users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from sqlalchemy import Case, ScalarSelect, case, func
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


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job has come.

    Args:
        trials_done: trials that have ended, well or not.
        waits_for: the oldest job of its user that has not ended, paused or not, if it waits for one.
    """

    trials_done: int = 0
    waits_for: str | None = None


def progress(session: Session, tenant: str, job_ids: Sequence[str]) -> dict[str, Progress]:
    """Of each of these jobs."""
    statement = select(Job.id, *_progress()).where(Job.tenant_id == tenant, col(Job.id).in_(job_ids))
    return {job_id: Progress(done, waits_for) for job_id, done, waits_for in session.exec(statement)}


@cache
def _progress() -> tuple[ScalarSelect[int], Case[str | None]]:
    """Columns of a query on `Job`. Made once: making them takes longer than asking for them."""
    ended = select(func.count(col(Trial.id))).where(
        Trial.tenant_id == Job.tenant_id, Trial.job_id == Job.id, col(Trial.state).in_(_DONE)
    )
    return (
        ended.correlate(Job).scalar_subquery(),
        case((col(Job.status).not_in(FINAL), jobs.waited_for()), else_=None),
    )


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
