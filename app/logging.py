"""What the web service logs: JSON lines on stderr, one a request. Never bodies: they are people's histories."""

from __future__ import annotations

import logging
import re
import secrets
import sys
import time
import traceback
from collections.abc import MutableMapping
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import ExcInfo

from app.access.key_text import without_secrets
from app.metrics import Metrics

EXTRA_HEADERS = "milp.headers"
"""Where a request's scope keeps headers that its answer is to have, whoever makes the answer."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_DATABASE_ERRORS = ("sqlalchemy.", "psycopg.", "sqlite3.")
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})
"""Asked every few seconds by machines; their answers would drown the rest."""

log = structlog.get_logger(__name__)
_json = structlog.processors.JSONRenderer()


def configure_logging(level: str) -> None:
    """JSON lines from `level` upwards (debug, info, warning, error)."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(_traceback),
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )


def _traceback(exc_info: ExcInfo) -> str:
    """As Python prints it, but of a database's error the first line alone: the next may quote a whole row."""
    parts = traceback.format_exception(*exc_info)
    return "".join(part.partition("\n")[0] + "\n" if part.startswith(_DATABASE_ERRORS) else part for part in parts)


def _render(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    """The event as one line. A key that came in a path or an error is cut to its id, wherever it stands."""
    return without_secrets(str(_json(logger, method, event)))


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
                if route not in _QUIET:
                    log.info(
                        "request",
                        method=scope["method"],
                        path=scope["path"],
                        status=status,
                        milliseconds=round(seconds * 1000),
                    )
