"""Waiting for an answer from asynchronous code: in threads of its own, and not longer than anyone listens.

An answer is a blocking iterator. Its threads are counted apart from those of the other routes, so that a full queue
of answers never keeps a health check or an import waiting.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from app.errors import QueueFullError

if TYPE_CHECKING:
    from engine.answering import Answer

T = TypeVar("T")
_TO_SPARE = 8
"""Threads beyond the engine's places, so that the engine itself can say that its queue is full, and for how long."""


def answer_threads(max_batch_rows: int, max_queue: int) -> CapacityLimiter:
    """As many threads as answers can be decoded and waiting."""
    return CapacityLimiter(max_batch_rows + max_queue + _TO_SPARE)


async def begun(threads: CapacityLimiter, begin: Callable[[], T]) -> T:
    """The result of `begin`, which may look things up and load a stack.

    Raises:
        QueueFullError: every thread waits for an answer already.
    """
    if threads.available_tokens < 1:
        raise QueueFullError("Too many answers are waiting. Try again in a moment.", headers={"Retry-After": "1"})
    return await to_thread.run_sync(begin, limiter=threads)


async def pieces(threads: CapacityLimiter, answer: Answer) -> AsyncIterator[str]:
    """The answer's text as it is decoded. Whoever stops iterating cancels the answer."""
    iterator = iter(answer)
    try:
        while True:
            piece = await to_thread.run_sync(next, iterator, None, limiter=threads, abandon_on_cancel=True)
            if piece is None:
                return
            yield piece
    finally:
        answer.cancel()


async def whole_text(threads: CapacityLimiter, answer: Answer, disconnected: Callable[[], Awaitable[None]]) -> str:
    """The answer's text once it is complete; what there is of it if `disconnected` returns before."""
    failure: Exception | None = None
    text = ""

    async def cancel_when_gone() -> None:
        await disconnected()
        answer.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(cancel_when_gone)
        try:
            text = await to_thread.run_sync(answer.text, limiter=threads)
        except Exception as error:
            # Raised outside the group, which would wrap it.
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return text
