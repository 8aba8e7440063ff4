"""Beginning an answer in threads of its own, and waiting for it no longer than anyone listens.

Beginning looks things up and has a stack loaded, in threads counted apart from those of the other routes, so that
a slow store or a full queue of answers never keeps a health check or an import waiting. Waiting takes no thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from app.answers.engine_client import EngineAnswer
from app.answers.wire import asks_at_once
from app.errors import QueueFullError

T = TypeVar("T")


def answer_threads(max_batch_rows: int, max_queue: int) -> CapacityLimiter:
    """As many threads as answers may be begun at once."""
    return CapacityLimiter(asks_at_once(max_batch_rows, max_queue))


async def begun(threads: CapacityLimiter, begin: Callable[[], T]) -> T:
    """The result of `begin`, which may look things up and load a stack.

    Raises:
        QueueFullError: every thread waits for an answer to begin already.
    """
    if threads.available_tokens < 1:
        raise QueueFullError("Too many answers are waiting. Try again in a moment.", headers={"Retry-After": "1"})
    return await to_thread.run_sync(begin, limiter=threads)


async def pieces(answer: EngineAnswer) -> AsyncIterator[str]:
    """The answer's text as it is decoded. Whoever stops iterating cancels the answer."""
    try:
        async for piece in answer:
            yield piece
    finally:
        answer.cancel()


async def whole_text(answer: EngineAnswer, disconnected: Callable[[], Awaitable[None]]) -> str:
    """The answer's text once it is complete; what there is of it if `disconnected` returns before."""

    async def cancel_when_gone() -> None:
        await disconnected()
        answer.cancel()

    # No task group: it would take as long as all else that is done here of an answer.
    watching = asyncio.create_task(cancel_when_gone())
    try:
        return await answer.text()
    finally:
        answer.cancel()
        watching.cancel()
