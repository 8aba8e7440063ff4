"""Versions: GET /v1/users/{user_id}/versions; activate, deactivate, export."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from sqlmodel import Session

from app import errors
from app.auth import Caller, Reader, Writer
from app.forgetting.samples import learned_samples
from app.idempotency import OnceDep
from app.openapi import problems
from app.repositories import users, versions
from app.routers.as_json import as_json
from app.routers.parameters import CursorParam, LimitParam, UserIdDep, VersionIdDep
from app.schemas.common import Paged
from app.schemas.erasures import LearnedSamples
from app.schemas.versions import ActiveVersion, VersionOut
from app.state import ServicesDep

router = APIRouter(tags=["versions"])

_POINTING = problems(errors.UserNotFoundError, errors.VersionNotFoundError, errors.IdempotencyKeyReusedError)


@router.get("/v1/users/{user_id}/versions", responses=problems(errors.UserNotFoundError, errors.InvalidCursorError))
@as_json
def list_versions(
    user_id: UserIdDep, caller: Reader, services: ServicesDep, limit: LimitParam = 50, cursor: CursorParam = None
) -> Paged[VersionOut]:
    """The user's versions, newest first."""
    with services.database.read() as session:
        active = users.get_user(session, caller.tenant, user_id).active_version_id
        page = versions.page_versions(session, caller.tenant, user_id, cursor, limit)
    items = [
        VersionOut(
            **version.model_dump(exclude={"row", "tenant_id", "deleted_samples"}),
            deleted_samples=version.deleted_samples or [],
            active=version.id == active,
        )
        for version in page.items
    ]
    return Paged(items=items, next_cursor=page.next_cursor)


@router.post("/v1/users/{user_id}/versions/{version_id}/activate", response_model=ActiveVersion, responses=_POINTING)
def activate(
    user_id: UserIdDep, version_id: VersionIdDep, caller: Writer, services: ServicesDep, once: OnceDep
) -> JSONResponse:
    """Let this version answer from the next request on: roll back, or try one that did not pass its gate."""
    return once.run(services.database, caller.deed, 200, lambda s: _point(s, caller, user_id, version_id))


@router.post("/v1/users/{user_id}/versions/deactivate", response_model=ActiveVersion, responses=_POINTING)
def deactivate(user_id: UserIdDep, caller: Writer, services: ServicesDep, once: OnceDep) -> JSONResponse:
    """Let no version answer: mode auto is the memory prompt again."""
    return once.run(services.database, caller.deed, 200, lambda s: _point(s, caller, user_id, None))


@router.get(
    "/v1/users/{user_id}/versions/{version_id}/export",
    response_class=Response,
    responses=problems(
        errors.UserNotFoundError, errors.VersionNotFoundError, errors.AdapterUnusableError, errors.StoreFailedError
    )
    | {
        200: {
            "description": "PEFT's folder, flat",
            "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
def export(user_id: UserIdDep, version_id: VersionIdDep, caller: Reader, services: ServicesDep) -> Response:
    """The version as a zip: unpack it and load the folder with `PeftModel.from_pretrained`."""
    with services.database.read() as session:
        users.get_user(session, caller.tenant, user_id)
        path = versions.get_version(session, caller.tenant, user_id, version_id).path
    content = services.store.export_zip(path)
    headers = {"Content-Disposition": f'attachment; filename="{version_id}.zip"'}
    return Response(content, media_type="application/zip", headers=headers)


@router.get(
    "/v1/users/{user_id}/versions/{version_id}/samples",
    responses=problems(
        errors.UserNotFoundError,
        errors.InvalidUserIdError,
        errors.VersionNotFoundError,
        errors.AdapterUnusableError,
        errors.StoreFailedError,
    ),
)
@as_json
def list_learned(user_id: UserIdDep, version_id: VersionIdDep, caller: Reader, services: ServicesDep) -> LearnedSamples:
    """The samples the version was trained on, by their digests, and which of them were deleted since."""
    with services.database.read() as session:
        users.get_user(session, caller.tenant, user_id)
        version = versions.get_version(session, caller.tenant, user_id, version_id)
        return learned_samples(session, version, services.store.metadata(version.path)["samples"])


def _point(session: Session, caller: Caller, user_id: str, version_id: str | None) -> ActiveVersion:
    versions.activate(session, users.get_user(session, caller.tenant, user_id), version_id)
    return ActiveVersion(user_id=user_id, version_id=version_id)
