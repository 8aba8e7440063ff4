"""The audit log: GET /v1/audit, for the admins of a tenant."""

from __future__ import annotations

from fastapi import APIRouter

from app import errors
from app.auth import Admin
from app.openapi import problems
from app.repositories import audit
from app.routers.as_json import as_json
from app.routers.parameters import CursorParam, LimitParam
from app.schemas.common import Paged
from app.schemas.keys import AuditEntryOut
from app.state import ServicesDep

router = APIRouter(tags=["audit"])


@router.get("/v1/audit", responses=problems(errors.InvalidCursorError))
@as_json
def list_entries(
    caller: Admin, services: ServicesDep, limit: LimitParam = 50, cursor: CursorParam = None
) -> Paged[AuditEntryOut]:
    """Every write of the tenant, done or refused, newest first."""
    with services.database.read() as session:
        page = audit.page_entries(session, caller.tenant, cursor, limit)
    items = [AuditEntryOut.model_validate(entry, from_attributes=True) for entry in page.items]
    return Paged(items=items, next_cursor=page.next_cursor)
