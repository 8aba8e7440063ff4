"""The web service, with one header more: how long the engine had a request (`Server-Timing: engine;dur=<ms>`).

A factory for uvicorn, for `benchmarks.serve.api` only. The engine's time runs from the call of its `submit`, loading a
stack included, to the token with which the answer is complete; everything else is the service's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from app.main import create_app
from engine.answering import Answer, AnsweringEngine
from engine.prompts import Message

_spans: ContextVar[list[tuple[float, Answer]]] = ContextVar("spans")
_ended: dict[int, float] = {}


def _watch_engine() -> None:
    submit, publish = AnsweringEngine.submit, Answer._publish

    def timed_submit(self: AnsweringEngine, messages: Sequence[Message], **named: Any) -> Answer:
        began = time.perf_counter()
        answer = submit(self, messages, **named)
        # The threads that answers are begun in run in their request's context.
        _spans.get([]).append((began, answer))
        return answer

    def timed_publish(self: Answer) -> None:
        # Before the text is handed over: that may already wake the reader.
        _ended[id(self)] = time.perf_counter()
        publish(self)

    AnsweringEngine.submit, Answer._publish = timed_submit, timed_publish  # type: ignore[method-assign]


def create() -> Any:
    """The application, its answers timed."""
    _watch_engine()
    service = create_app()

    async def timed(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await service(scope, receive, send)
            return
        spans: list[tuple[float, Answer]] = []
        _spans.set(spans)

        async def with_header(message: Any) -> None:
            if message["type"] == "http.response.start" and spans:
                spent = sum(_ended.pop(id(answer)) - began for began, answer in spans)
                message["headers"].append((b"server-timing", f"engine;dur={1e3 * spent:.3f}".encode()))
            await send(message)

        await service(scope, receive, with_header)

    return timed
