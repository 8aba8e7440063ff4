"""Jobs: making them, finding them, and moving them from one status to the next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, bindparam, exists, func, or_, text, update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select

from app.errors import InvalidTransitionError, JobNotFoundError
from app.job_options import ResolvedOptions
from app.job_states import FINAL, STATUS_OF_STEP, JobStatus, StepKind, StepState, TrialState, may_follow
from app.repositories import deliveries, events
from app.repositories.clock import at_writing, database_now
from app.repositories.paging import Page, page
from app.repositories.users import lock_user
from app.tables import Job, Step, Trial, now


@dataclass(frozen=True, slots=True)
class Cause:
    """What made a job begin.

    Args:
        key_id: the API key that asked for it.
        request_id: the request it asked with.
        trace: the span of that request, as a W3C traceparent, where it is traced.
    """

    key_id: str
    request_id: str | None = None
    trace: str | None = None


def create_job(
    session: Session, tenant: str, user_id: str, options: ResolvedOptions, cause: Cause | None = None
) -> Job:
    """A queued job with its first step, due at once; a worker hears of it after the commit.

    `cause` is None where no request asked for it.

    Raises:
        UserNotFoundError: there is no such user.
    """
    lock_user(session, tenant, user_id)
    job = Job(tenant_id=tenant, user_id=user_id, options=options.model_dump(mode="json"))
    if cause is not None:
        job.key_id, job.request_id, job.trace = cause.key_id, cause.request_id, cause.trace
    session.add(job)
    session.flush()
    session.add_all([_due_now(session, job, StepKind.plan, 0), events.first(job)])
    session.flush()
    return job


def add_step(session: Session, job: Job, kind: StepKind, round: int = 0) -> Step:
    """The job's next step, due at once."""
    step = _due_now(session, job, kind, round)
    session.add(step)
    session.flush()
    return step


def unfinished_jobs_of_key(session: Session, tenant: str, key_id: str) -> int:
    """How many jobs this API key has asked for that have not ended, paused ones too.

    Transactions that count for the same key take turns until they end, so that each sees the job of the one before.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.connection().execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 1))"), {"key": f"{tenant}\n{key_id}"}
        )
    statement = select(func.count(col(Job.id))).where(
        Job.tenant_id == tenant, Job.key_id == key_id, col(Job.status).not_in(list(FINAL))
    )
    return session.exec(statement).one()


def unfinished_jobs(session: Session, tenant: str, user_id: str) -> list[Job]:
    """The user's jobs that have not ended, by id."""
    statement = select(Job).where(Job.tenant_id == tenant, Job.user_id == user_id, col(Job.status).not_in(list(FINAL)))
    return list(session.exec(statement.order_by(col(Job.id))))


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that no worker has touched yet, and the oldest unfinished one of its user if it waits for one."""

    job: Job
    waits_for: str | None


def queued_job(session: Session, tenant: str, user_id: str) -> Waiting | None:
    """The user's newest job that no worker has touched yet: it will see samples added in this transaction too.

    Its row is held until the transaction ends, so no worker can begin it before.
    """
    given = {"tenant": tenant, "user_id": user_id}
    found = session.exec(_queued(), params=given, execution_options={"populate_existing": True}).one_or_none()
    return None if found is None else Waiting(*found)


@cache
def _queued() -> Select[Job, str | None]:
    """The query of `queued_job`, made once: every history that comes in asks it."""
    begun = exists().where(col(Step.job_id) == col(Job.id), col(Step.attempt) > 0)
    return (
        select(Job, waited_for())
        .where(
            Job.tenant_id == bindparam("tenant"),
            Job.user_id == bindparam("user_id"),
            Job.status == JobStatus.queued,
            ~begun,
        )
        .order_by(col(Job.created_at).desc(), col(Job.id).desc())
        .limit(1)
        # A job held by someone else is being begun or ended just now.
        .with_for_update(key_share=True, skip_locked=True, of=Job)
    )


def waits_for(session: Session, job: Job) -> str | None:
    """The oldest unfinished job of its user, if the job waits for one."""
    return session.exec(select(waited_for()).where(Job.tenant_id == job.tenant_id, Job.id == job.id)).one()


@cache
def waited_for() -> ScalarSelect[str | None]:
    """The id of the job that a job waits for longest: a column of a query on `Job`, made once."""
    older = aliased(Job)
    oldest = select(older.id).where(*holds_up(older, Job)).order_by(col(older.created_at), col(older.id)).limit(1)
    return oldest.correlate(Job).scalar_subquery()


def holds_up(older: type[Job], job: type[Job]) -> tuple[ColumnElement[bool], ...]:
    """What makes `older` one that `job` waits for, in a query on both: earlier, of the same user, and unfinished.

    Two searches on one history at once would only race for the active version.
    """
    same_moment = col(older.created_at) == job.created_at
    return (
        col(older.tenant_id) == job.tenant_id,
        col(older.user_id) == job.user_id,
        col(older.status).not_in(FINAL),
        or_(col(older.created_at) < job.created_at, same_moment & (col(older.id) < job.id)),
    )


def get_job(session: Session, tenant: str, job_id: str) -> Job:
    """Raises: JobNotFoundError."""
    job = session.exec(select(Job).where(Job.tenant_id == tenant, Job.id == job_id)).one_or_none()
    if job is None:
        raise JobNotFoundError(f"There is no job '{job_id}'. GET /v1/jobs lists yours.")
    return job


def page_jobs(
    session: Session,
    tenant: str,
    *,
    user_id: str | None = None,
    status: JobStatus | None = None,
    cursor: str | None = None,
    limit: int,
) -> Page[Job]:
    """The tenant's jobs, newest first; of one user or with one status where asked. Raises: InvalidCursorError."""
    statement = select(Job).where(Job.tenant_id == tenant)
    if user_id is not None:
        statement = statement.where(Job.user_id == user_id)
    if status is not None:
        statement = statement.where(Job.status == status)
    return page(
        session,
        statement,
        [Job.created_at, Job.id],
        lambda job: [job.created_at, job.id],
        [datetime, str],
        cursor=cursor,
        limit=limit,
        newest_first=True,
    )


def lock_job(session: Session, job: Job) -> None:
    """Bring `job` to what it is now, and hold its row until the transaction ends.

    Call it before touching the job's steps or trials in a transaction that also changes the job or appends an event.

    Raises:
        JobNotFoundError: it was deleted meanwhile.
    """
    session.flush()
    statement = select(Job).where(Job.tenant_id == job.tenant_id, Job.id == job.id).with_for_update(key_share=True)
    if session.exec(statement, execution_options={"populate_existing": True}).one_or_none() is None:
        raise JobNotFoundError(f"Job '{job.id}' was deleted.")


def set_status(session: Session, job: Job, status: JobStatus) -> None:
    """Move the job on, stamp its times, and tell those who follow it, webhooks of its end. `job` is this session's.

    Raises:
        InvalidTransitionError: that status may not follow the present one.
        JobNotFoundError: the job was deleted meanwhile.
    """
    lock_job(session, job)
    if not may_follow(job.status, status):
        raise InvalidTransitionError(f"Job '{job.id}' is {job.status.value}; it cannot become {status.value}.")
    moment = database_now(session)
    if job.paused_at is not None and job.started_at is not None:
        job.paused_seconds += (moment - job.paused_at).total_seconds()
    job.paused_at = moment if status == JobStatus.paused else None
    job.status = status
    if job.started_at is None and status not in (JobStatus.queued, JobStatus.paused) and not status.is_final:
        job.started_at = moment
    if status.is_final:
        job.finished_at = moment
        job.seconds_left = None
    events.append(session, job, "status", {"status": status.value})
    if status.is_final:
        deliveries.announce(session, job, moment)


def seconds_at_work(job: Job, moment: datetime) -> float:
    """How long the job has run by this moment (of `database_now`), without its pauses; 0 before it started."""
    if job.started_at is None:
        return 0.0
    pause = moment - job.paused_at if job.paused_at is not None else timedelta()
    return (moment - job.started_at - pause).total_seconds() - job.paused_seconds


def cancel_job(session: Session, job: Job) -> None:
    """End the job now: what waits is dropped, and a worker busy with it finds its lease gone.

    Raises:
        InvalidTransitionError: the job has ended already.
    """
    set_status(session, job, JobStatus.cancelled)
    moment = now()
    session.exec(
        update(Step)
        .where(col(Step.job_id) == job.id, col(Step.state).in_([StepState.ready, StepState.claimed]))
        .values(state=StepState.cancelled, finished_at=moment, lease_until=None)
    )
    session.exec(
        update(Trial)
        .where(col(Trial.job_id) == job.id, col(Trial.state) == TrialState.planned)
        .values(state=TrialState.cancelled, finished_at=moment)
    )


def pause_job(session: Session, job: Job) -> None:
    """Start no further step of the job. A step at work finishes.

    Raises:
        InvalidTransitionError: the job is paused or has ended already.
    """
    set_status(session, job, JobStatus.paused)


def resume_job(session: Session, job: Job) -> None:
    """Go on with a paused job: its waiting steps are due at once, and a step still at work says what the job is doing.

    Raises:
        InvalidTransitionError: the job is not paused.
    """
    lock_job(session, job)
    claimed = select(Step).where(Step.job_id == job.id, Step.state == StepState.claimed).limit(1)
    at_work = session.exec(claimed).one_or_none() if job.status == JobStatus.paused else None
    set_status(session, job, JobStatus.queued if at_work is None else STATUS_OF_STEP[at_work.kind])
    session.exec(
        update(Step)
        .where(col(Step.job_id) == job.id, col(Step.state) == StepState.ready)
        .values(send_after=database_now(session), sends=0)
    )


def _due_now(session: Session, job: Job, kind: StepKind, round: int) -> Step:
    due: Any = at_writing(session)
    return Step(tenant_id=job.tenant_id, job_id=job.id, kind=kind, round=round, send_after=due)
