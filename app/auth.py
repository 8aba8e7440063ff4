"""Who asks, and whether they may: what a route says in its signature to be let in by.

A route names the scope it needs by the type of its caller, one of the four at the end, and nowhere else: the check,
the OpenAPI document and the tests all read it from there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from app.access import audit
from app.access.audit import Deed
from app.access.identity import Identity, identify
from app.errors import ForbiddenError
from app.logging import EXTRA_HEADERS
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


def caller(
    needed: SecurityScopes,
    request: Request,
    services: ServicesDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Caller:
    """The holder of the request's key.

    Raises:
        UnauthorizedError: no key, or none that is in force.
        LimitReachedError: too many requests.
        ForbiddenError: the key has not the scope the route needs.
        DatabaseAwayError
    """
    # Header bytes come as Latin-1; taken back to bytes they are what the client sent, UTF-8 keys included.
    given = credentials.credentials.encode("latin-1") if credentials else None
    identity = identify(services.settings, services.database, given)
    if identity.note_use is not None:
        services.key_use.note(identity.key_id, identity.note_use)
    request.scope[EXTRA_HEADERS] = services.limiter.count_request(identity)
    found = Caller(identity, _deed(request, identity))
    missing = [scope for scope in needed.scopes if scope not in identity.scopes]
    if missing:
        error = ForbiddenError(
            f"This API key has not the scope '{missing[0]}'. An admin of your tenant can make one that has."
        )
        if request.method != "GET" and missing[0] in _WRITING:
            audit.refused(services.database, found.deed, error.code)
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
