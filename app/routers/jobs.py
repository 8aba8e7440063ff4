"""Jobs: GET /v1/jobs, /v1/jobs/{job_id} and its trials; cancel, pause, resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from sqlmodel import Session

from app import errors, job_views
from app.auth import Caller, Reader, Writer
from app.idempotency import OnceDep
from app.job_states import JobStatus
from app.openapi import problems
from app.repositories import jobs, overview
from app.routers.as_json import as_json
from app.routers.parameters import CursorParam, JobIdDep, LimitParam, checked_user_id
from app.schemas.common import Paged
from app.schemas.jobs import JobOut, JobSummary, TrialOut
from app.state import ServicesDep
from app.tables import Job

router = APIRouter(tags=["jobs"])

_MOVING = problems(errors.JobNotFoundError, errors.InvalidTransitionError, errors.IdempotencyKeyReusedError)


@router.get("/v1/jobs", responses=problems(errors.InvalidCursorError, errors.InvalidUserIdError))
@as_json
def list_jobs(
    caller: Reader,
    services: ServicesDep,
    user_id: Annotated[str | None, Query(description="only this user's")] = None,
    status: Annotated[JobStatus | None, Query(description="only those with this status")] = None,
    limit: LimitParam = 50,
    cursor: CursorParam = None,
) -> Paged[JobSummary]:
    """The tenant's jobs, newest first."""
    if user_id is not None:
        checked_user_id(user_id)
    with services.database.read() as session:
        page = jobs.page_jobs(session, caller.tenant, user_id=user_id, status=status, cursor=cursor, limit=limit)
        return Paged(items=job_views.summaries(session, caller.tenant, page.items), next_cursor=page.next_cursor)


@router.get("/v1/jobs/{job_id}", responses=problems(errors.JobNotFoundError))
@as_json
def get_job(job_id: JobIdDep, caller: Reader, services: ServicesDep) -> JobOut:
    """A job: status, progress, best trial so far, Pareto front, report."""
    with services.database.read() as session:
        return job_views.full(session, jobs.get_job(session, caller.tenant, job_id))


@router.get("/v1/jobs/{job_id}/trials", responses=problems(errors.JobNotFoundError, errors.InvalidCursorError))
@as_json
def list_trials(
    job_id: JobIdDep, caller: Reader, services: ServicesDep, limit: LimitParam = 50, cursor: CursorParam = None
) -> Paged[TrialOut]:
    """The job's trials by number; number 0 is the base itself."""
    with services.database.read() as session:
        jobs.get_job(session, caller.tenant, job_id)
        page = overview.page_trials(session, caller.tenant, job_id, cursor, limit)
    return Paged(items=[job_views.trial_out(trial) for trial in page.items], next_cursor=page.next_cursor)


@router.post("/v1/jobs/{job_id}/cancel", response_model=JobOut, responses=_MOVING)
def cancel(job_id: JobIdDep, caller: Writer, services: ServicesDep, once: OnceDep) -> JSONResponse:
    """End the job. Trials that are done stay to be looked at; nothing is published."""
    return once.run(services.database, caller.deed, 200, _moved(caller, job_id, jobs.cancel_job))


@router.post("/v1/jobs/{job_id}/pause", response_model=JobOut, responses=_MOVING)
def pause(job_id: JobIdDep, caller: Writer, services: ServicesDep, once: OnceDep) -> JSONResponse:
    """Start no further step of the job. The one at work finishes, and its trials count."""
    return once.run(services.database, caller.deed, 200, _moved(caller, job_id, jobs.pause_job))


@router.post("/v1/jobs/{job_id}/resume", response_model=JobOut, responses=_MOVING)
def resume(job_id: JobIdDep, caller: Writer, services: ServicesDep, once: OnceDep) -> JSONResponse:
    """Go on with a paused job."""
    return once.run(services.database, caller.deed, 200, _moved(caller, job_id, jobs.resume_job))


def _moved(caller: Caller, job_id: str, move: Callable[[Session, Job], None]) -> Callable[[Session], JobOut]:
    def effect(session: Session) -> JobOut:
        job = jobs.get_job(session, caller.tenant, job_id)
        move(session, job)
        return job_views.full(session, job)

    return effect
