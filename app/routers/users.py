"""Users: GET /v1/users, GET and DELETE /v1/users/{user_id}, and starting a job for one."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from app import errors, job_views
from app.auth import Reader, Writer
from app.forgetting import erasing
from app.idempotency import OnceDep
from app.intake import start_job
from app.job_options import JobOptions
from app.openapi import problems
from app.repositories import history, users
from app.routers.as_json import as_json
from app.routers.parameters import CursorParam, ErasedUserIdDep, LimitParam, UserIdDep
from app.schemas.common import Paged
from app.schemas.erasures import ErasureOut
from app.schemas.jobs import JobOut
from app.schemas.users import UserOut, UserSummary
from app.state import ServicesDep

router = APIRouter(tags=["users"])


@router.get("/v1/users", responses=problems(errors.InvalidCursorError))
@as_json
def list_users(
    caller: Reader, services: ServicesDep, limit: LimitParam = 50, cursor: CursorParam = None
) -> Paged[UserSummary]:
    """The tenant's users, by id."""
    with services.database.read() as session:
        page = users.page_users(session, caller.tenant, cursor, limit)
    items = [UserSummary.model_validate(user, from_attributes=True) for user in page.items]
    return Paged(items=items, next_cursor=page.next_cursor)


@router.get("/v1/users/{user_id}", responses=problems(errors.UserNotFoundError, errors.InvalidUserIdError))
@as_json
def get_user(user_id: UserIdDep, caller: Reader, services: ServicesDep) -> UserOut:
    """A user, the size of their history, and which version answers for them."""
    with services.database.read() as session:
        user = users.get_user(session, caller.tenant, user_id)
        count = history.count_samples(session, caller.tenant, user_id)
    return UserOut(**user.model_dump(exclude={"tenant_id"}), samples=count)


@router.delete(
    "/v1/users/{user_id}",
    responses=problems(errors.UserNotFoundError, errors.InvalidUserIdError, errors.StoreFailedError),
)
def delete_user(user_id: ErasedUserIdDep, caller: Writer, services: ServicesDep) -> ErasureOut:
    """Delete the user with everything: history, jobs, versions, stored stacks, and what processes hold in memory.

    Database and store are done when this answers; GET /v1/erasures/{id} says when every process has confirmed.
    """
    return erasing.erase_user(services, caller.deed, user_id)


@router.post(
    "/v1/users/{user_id}/personalizations",
    status_code=202,
    response_model=JobOut,
    responses=problems(
        errors.UserNotFoundError,
        errors.InvalidUserIdError,
        errors.EmptyHistoryError,
        errors.HistoryTooShortError,
        errors.TooManyJobsError,
        errors.IdempotencyKeyReusedError,
    ),
)
def personalize(
    user_id: UserIdDep,
    caller: Writer,
    services: ServicesDep,
    once: OnceDep,
    options: JobOptions | None = None,
) -> JSONResponse:
    """Start a job that learns the history there is.

    A job that is queued and not begun is given instead of a second, with these options if there are any.
    """
    return once.run(
        services.database,
        caller.deed,
        202,
        lambda session: job_views.full(
            session, start_job(session, caller.identity, user_id, options, services.settings).job
        ),
    )
