"""The gate before every route under /v1: no key in force, no routing, and no body read.

FastAPI reads a body and checks a path before it asks who sent them; this does not wait for that. What a key may do is
the routes' to say (`app.auth`).
"""

from __future__ import annotations

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.access.identity import Identity, identify, identify_known
from app.errors import ServiceError
from app.problems import refusal
from app.request_log import EXTRA_HEADERS
from app.state import Services

IDENTITY = "milp.identity"
"""Where a request's scope keeps whose key it came with."""
_GUARDED = "/v1/"


class KeyGate:
    """ASGI middleware: lets in requests with a key in force and within its limit, answers all others itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _route_path(scope).startswith(_GUARDED):
            await self._app(scope, receive, send)
            return
        services: Services = scope["state"]["services"]
        try:
            given = _given(scope)
            identity = identify_known(services.settings, services.known_keys, given)
            # To a thread only where it has to wait, for the database or for the counters in Redis.
            if identity is None or identity.limits.requests_per_minute:
                await to_thread.run_sync(_admit, services, scope, given, identity)
            else:
                _let_in(services, scope, identity)
        except ServiceError as error:
            await refusal(Request(scope), error)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _admit(services: Services, scope: Scope, given: bytes | None, identity: Identity | None) -> None:
    """Raises: UnauthorizedError, LimitReachedError, DatabaseAwayError."""
    if identity is None:
        identity = identify(services.settings, services.database, given, services.known_keys)
    _let_in(services, scope, identity)


def _let_in(services: Services, scope: Scope, identity: Identity) -> None:
    """Raises: LimitReachedError."""
    if identity.note_use is not None:
        services.key_use.note(identity.key_id, identity.note_use)
    scope[EXTRA_HEADERS] = services.limiter.count_request(identity)
    scope[IDENTITY] = identity


def _given(scope: Scope) -> bytes | None:
    """The key that came with the request, None where none did."""
    scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    # Header bytes come as Latin-1; taken back to bytes they are what the client sent, UTF-8 keys included.
    return key.strip().encode("latin-1") if scheme.lower() == "bearer" else None


def _route_path(scope: Scope) -> str:
    """The path as routes name it: without the prefix that a proxy put before it."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
