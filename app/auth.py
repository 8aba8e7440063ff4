"""Who asks, and whether they may: what a route says in its signature. That they have a key at all, `app.gate` sees to.

A route names the scope it needs by the type of its caller, one of the four at the end, and nowhere else: the check,
the OpenAPI document and the tests all read it from there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from anyio import to_thread
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from app.access import audit
from app.access.audit import Deed
from app.access.identity import Identity, unknown_key
from app.errors import ForbiddenError
from app.gate import IDENTITY
from app.state import ServicesDep

_WRITING = ("write", "admin")
_IDS = re.compile(r"[A-Za-z0-9_@:/-]{0,256}")
_bearer = HTTPBearer(
    scheme_name="ApiKey",
    bearerFormat="milp_<id>_<secret>",
    auto_error=False,
    description="An API key with the scope the route names: read, write, answer or admin.",
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request, and what they ask for."""

    identity: Identity
    deed: Deed

    @property
    def tenant(self) -> str:
        return self.identity.tenant


async def caller(
    needed: SecurityScopes,
    request: Request,
    services: ServicesDep,
    _in_the_document: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Caller:
    """The holder of the request's key, which the gate has looked at.

    Raises:
        UnauthorizedError: the request did not come through the gate.
        ForbiddenError: the key has not the scope the route needs.
    """
    identity: Identity | None = request.scope.get(IDENTITY)
    if identity is None:
        raise unknown_key()
    found = Caller(identity, _deed(request, identity))
    missing = [scope for scope in needed.scopes if scope not in identity.scopes]
    if missing:
        error = ForbiddenError(
            f"This API key has not the scope '{missing[0]}'. An admin of your tenant can make one that has."
        )
        if request.method != "GET" and missing[0] in _WRITING:
            await to_thread.run_sync(audit.refused, services.database, found.deed, error.code)
        raise error
    return found


def _deed(request: Request, identity: Identity) -> Deed:
    """What is asked for, in ids alone: a path that holds other text names nothing there is."""
    target = "/".join(map(str, request.path_params.values()))
    return Deed(
        tenant=identity.tenant,
        key_id=identity.key_id,
        action=f"{request.method} {request.scope['route'].path}",
        target=target if _IDS.fullmatch(target) else "",
        request_id=request.scope.get("milp.request_id", ""),
    )


Reader = Annotated[Caller, Security(caller, scopes=["read"])]
Writer = Annotated[Caller, Security(caller, scopes=["write"])]
Asker = Annotated[Caller, Security(caller, scopes=["answer"])]
Admin = Annotated[Caller, Security(caller, scopes=["admin"])]
