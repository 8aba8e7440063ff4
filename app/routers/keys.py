"""API keys: GET and POST /v1/keys; rotate, revoke. For the admins of a tenant, about that tenant's keys.

These take no Idempotency-Key: the answer under one is kept, and theirs holds a secret.
"""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter, Response

from app import errors
from app.access import managing
from app.access.managing import Shown, Wanted
from app.auth import Admin
from app.openapi import problems
from app.repositories import api_keys
from app.routers.as_json import as_json
from app.routers.parameters import CursorParam, KeyIdDep, LimitParam
from app.schemas.common import Paged
from app.schemas.keys import KeyIn, KeyOut, KeyShown, RotationIn
from app.state import ServicesDep

router = APIRouter(tags=["keys"])

_ONE_KEY = (errors.KeyNotFoundError,)


@router.get("/v1/keys", responses=problems(errors.InvalidCursorError))
@as_json
def list_keys(
    caller: Admin, services: ServicesDep, limit: LimitParam = 50, cursor: CursorParam = None
) -> Paged[KeyOut]:
    """The tenant's keys, newest first, without their secrets; revoked ones too."""
    with services.database.read() as session:
        page = api_keys.page_keys(session, caller.tenant, cursor, limit)
    items = [KeyOut.model_validate(key, from_attributes=True) for key in page.items]
    return Paged(items=items, next_cursor=page.next_cursor)


@router.post("/v1/keys", status_code=201, responses=problems(errors.InvalidJsonError))
def create_key(caller: Admin, services: ServicesDep, body: KeyIn, response: Response) -> KeyShown:
    """Make a key. Its text is in this answer and nowhere else."""
    return _shown(managing.create(services.database, caller.deed, Wanted(**body.model_dump())), response)


@router.post("/v1/keys/{key_id}/rotate", responses=problems(*_ONE_KEY, errors.InvalidJsonError, errors.ConflictError))
def rotate_key(
    key_id: KeyIdDep, caller: Admin, services: ServicesDep, body: RotationIn, response: Response
) -> KeyShown:
    """Give the key a new secret; the one before is taken until the time of grace is over."""
    grace = timedelta(seconds=body.grace_seconds)
    shown = managing.rotate(services.database, caller.deed, key_id, grace)
    services.known_keys.forget(key_id)
    return _shown(shown, response)


@router.post("/v1/keys/{key_id}/revoke", responses=problems(*_ONE_KEY))
def revoke_key(key_id: KeyIdDep, caller: Admin, services: ServicesDep) -> KeyOut:
    """Let the key in no more, whatever its time of grace; other processes of the service learn of it in a second."""
    key = managing.revoke(services.database, caller.deed, key_id)
    services.known_keys.forget(key_id)
    return KeyOut.model_validate(key, from_attributes=True)


def _shown(shown: Shown, response: Response) -> KeyShown:
    response.headers["Cache-Control"] = "no-store"
    return KeyShown(**KeyOut.model_validate(shown.key, from_attributes=True).model_dump(), key=shown.text)
