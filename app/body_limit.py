"""Bodies over the limit are refused while they arrive, before anyone reads them into memory.

FastAPI's own limit answers in plain text and from outside the error handlers; this one raises a `ServiceError`.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import BodyTooLargeError

_DIGITS = 20
"""Of an announced length, more than any has: Python reads no number of thousands of digits."""


class BodyLimit:
    """ASGI middleware: whoever reads a body of more than `max_bytes` gets a BodyTooLargeError instead."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        announced = int(length[:_DIGITS]) if length.isdecimal() else 0
        seen = 0
        too_large = BodyTooLargeError(
            f"At most {self._max_bytes} bytes are taken at once (MILP_MAX_BODY_BYTES). Send the history in parts."
        )

        async def limited() -> Message:
            nonlocal seen
            if max(announced, seen) > self._max_bytes:
                raise too_large
            message = await receive()
            # Counted even where a length was announced: of a chunked body that length is not true.
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > self._max_bytes:
                    raise too_large
            return message

        await self._app(scope, limited, send)
