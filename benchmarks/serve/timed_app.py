"""The web service, with one header more: how long the engine had a request (`Server-Timing: engine;dur=<ms>`).

A factory for uvicorn, for `benchmarks.serve.api` only. The engine's time runs, in its process, from the call of its
`submit`, loading a stack included, to the token with which the answer is complete; everything else is the service's.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from app.answers.engine_client import EngineAnswer, EngineClient
from app.main import create_app

_answers: ContextVar[list[EngineAnswer]] = ContextVar("answers")


def _watch_engine() -> None:
    submit = EngineClient.submit

    def noted_submit(self: EngineClient, *args: Any, **named: Any) -> EngineAnswer:
        answer = submit(self, *args, **named)
        # The threads that answers are begun in run in their request's context.
        _answers.get([]).append(answer)
        return answer

    EngineClient.submit = noted_submit  # type: ignore[method-assign]  # what it times


def create() -> Any:
    """The application, its answers timed."""
    _watch_engine()
    service = create_app()

    async def timed(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await service(scope, receive, send)
            return
        answers: list[EngineAnswer] = []
        _answers.set(answers)

        async def with_header(message: Any) -> None:
            if message["type"] == "http.response.start" and answers:
                spent = sum((answer.timeline.ended or 0.0) - answer.timeline.asked for answer in answers)
                message["headers"].append((b"server-timing", f"engine;dur={1e3 * spent:.3f}".encode()))
            await send(message)

        await service(scope, receive, with_header)

    return timed
