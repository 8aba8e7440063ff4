"""Erasures: GET /v1/erasures, one of them, and the keys their receipts verify with."""

from __future__ import annotations

from fastapi import APIRouter

from app import errors
from app.auth import Reader
from app.forgetting.receipts import public_keys
from app.forgetting.views import erasure_out
from app.openapi import problems
from app.repositories import erasures
from app.routers.as_json import as_json
from app.routers.parameters import CursorParam, ErasureIdDep, LimitParam
from app.schemas.common import Paged
from app.schemas.erasures import ErasureOut, SigningKeyOut, SigningKeys
from app.state import ServicesDep

router = APIRouter(tags=["erasures"])


@router.get("/v1/erasures", responses=problems(errors.InvalidCursorError))
@as_json
def list_erasures(
    caller: Reader, services: ServicesDep, limit: LimitParam = 50, cursor: CursorParam = None
) -> Paged[ErasureOut]:
    """What was erased, newest first. Users are digests here."""
    with services.database.read() as session:
        page = erasures.page_erasures(session, caller.tenant, cursor, limit)
        return Paged(items=[erasure_out(session, erasure) for erasure in page.items], next_cursor=page.next_cursor)


@router.get("/v1/erasures/keys", responses=problems())
@as_json
def list_keys(_caller: Reader, services: ServicesDep) -> SigningKeys:
    """The public keys of receipts, as a JSON Web Key Set. Keep them with the receipts."""
    with services.database.read() as session:
        return SigningKeys(keys=[SigningKeyOut.model_validate(key) for key in public_keys(session)])


@router.get("/v1/erasures/{erasure_id}", responses=problems(errors.ErasureNotFoundError))
@as_json
def get_erasure(erasure_id: ErasureIdDep, caller: Reader, services: ServicesDep) -> ErasureOut:
    """How far it is: complete once every process that may have held something has confirmed."""
    with services.database.read() as session:
        return erasure_out(session, erasures.get_erasure(session, caller.tenant, erasure_id))
