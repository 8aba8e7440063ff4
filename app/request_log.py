"""What the web service logs of a request: one line, and its id in every line it causes. Never a body."""

from __future__ import annotations

import re
import secrets
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.metrics import Metrics

EXTRA_HEADERS = "milp.headers"
"""Where a request's scope keeps headers that its answer is to have, whoever makes the answer."""
QUIET = frozenset({"/livez", "/readyz", "/metrics"})
"""Asked every few seconds by machines; their answers would drown the rest."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")

log = structlog.get_logger(__name__)


class RequestLog:
    """ASGI middleware: gives each request an id (the caller's X-Request-Id if it sent one), logs and counts it.

    Its answer gets the headers that whoever let the request in has left in its scope.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope["milp.request_id"] = request_id
        status = 500
        began = time.monotonic()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in scope.get(EXTRA_HEADERS, ()):
                    headers.append(name, value)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, noted)
            finally:
                seconds = time.monotonic() - began
                route = getattr(scope.get("route"), "path", "unmatched")
                self._metrics.count_request(scope["method"], route, status, seconds)
                if route not in QUIET:
                    log.info(
                        "request",
                        method=scope["method"],
                        path=scope["path"],
                        status=status,
                        milliseconds=round(seconds * 1000),
                    )
