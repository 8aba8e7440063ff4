"""Waiting for answers: begun in a bounded number of threads, and only as long as somebody listens."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
from anyio import CapacityLimiter

from app.answers.waiting import answer_threads, begun, pieces, whole_text
from app.errors import QueueFullError


class SlowAnswer:
    """Says "a", then waits until it is cancelled: the engine's Answer, decoding as slowly as the test likes."""

    def __init__(self) -> None:
        self.cancelled = anyio.Event()

    async def __aiter__(self) -> AsyncIterator[str]:
        yield "a"
        with anyio.fail_after(60):
            await self.cancelled.wait()

    async def text(self) -> str:
        return "".join([piece async for piece in self])

    def cancel(self) -> None:
        self.cancelled.set()


def test_an_answer_nobody_reads_any_more_is_cancelled() -> None:
    answer = SlowAnswer()

    async def read_one() -> None:
        with anyio.CancelScope() as scope:
            async for piece in pieces(answer):  # type: ignore[arg-type]
                assert piece == "a"
                scope.cancel()

    anyio.run(read_one)
    assert answer.cancelled.is_set()


def test_an_answer_whose_client_is_gone_is_cancelled() -> None:
    answer = SlowAnswer()

    async def main() -> str:
        async def at_once() -> None:
            return None

        return await whole_text(answer, at_once)  # type: ignore[arg-type]

    assert anyio.run(main) == "a"
    assert answer.cancelled.is_set()


def test_what_an_answer_raises_comes_through_as_it_is() -> None:
    class Broken(SlowAnswer):
        async def text(self) -> str:
            raise ZeroDivisionError

    async def main() -> None:
        await whole_text(Broken(), anyio.sleep_forever)  # type: ignore[arg-type]

    with pytest.raises(ZeroDivisionError):
        anyio.run(main)


def test_without_a_free_thread_the_answer_is_refused_and_says_when_to_come_back() -> None:
    async def main() -> None:
        threads = CapacityLimiter(1)
        async with threads:
            await begun(threads, lambda: None)

    with pytest.raises(QueueFullError) as caught:
        anyio.run(main)
    assert caught.value.headers["Retry-After"] == "1"


def test_the_engine_has_room_to_say_that_its_queue_is_full() -> None:
    assert answer_threads(16, 64).total_tokens > 80
