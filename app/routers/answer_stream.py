"""The response that streams an answer's events, and ends the answer with itself. Knows no event's form."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from app.answers.service import Started

DRAIN_SECONDS = 60.0
"""Longest an answer goes on once the server was told to stop; the server's own limit is shorter, and cuts it too."""


class AnswerStream(EventSourceResponse):
    """Events of an answer, which is cancelled once nobody is left to read them.

    A client may be gone before the first event is asked for: then the generator of events never begins, and nothing
    within it can cancel the answer. A server that is told to stop lets it come to its end: unlike a job's events, it
    cannot be resumed.
    """

    def __init__(
        self,
        started: Started,
        events: AsyncIterator[ServerSentEvent],
        *,
        ended: Callable[[], Awaitable[None]],
        headers: Mapping[str, str],
        sep: str | None = None,
    ) -> None:
        """`ended` is awaited once, when no more of the answer will come."""
        super().__init__(events, headers=headers, sep=sep, shutdown_grace_period=DRAIN_SECONDS)
        self._answer = started.answer
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.cancel()
            await self._ended()
