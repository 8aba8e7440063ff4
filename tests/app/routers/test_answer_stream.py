"""A streamed answer ends with its response, also where the client left before the first event."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
from sse_starlette import ServerSentEvent
from sse_starlette.sse import AppStatus
from starlette.types import Message, Scope

from app.answers.service import Started
from app.routers.answer_stream import AnswerStream


class Listener:
    """Only says whether it was cancelled: the engine's Answer, of which nobody reads a word."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


@pytest.mark.parametrize("breaks", [False, True])
def test_an_answer_whose_client_left_before_the_first_event_is_cancelled(breaks: bool) -> None:
    answer = Listener()
    begun: list[str] = []

    async def events() -> AsyncIterator[ServerSentEvent]:
        begun.append("begun")
        yield ServerSentEvent("never read")

    async def ended() -> None:
        begun.append("ended")

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        # The headers of a client that is gone: some servers refuse them, some never get rid of them.
        if breaks:
            raise BrokenPipeError
        await anyio.sleep_forever()

    async def main() -> None:
        started = Started(answer, "base", None, (), None)  # type: ignore[arg-type]
        scope: Scope = {"type": "http", "method": "POST"}
        await AnswerStream(started, events(), ended=ended, headers={})(scope, receive, send)

    if breaks:
        with pytest.raises(BrokenPipeError):
            anyio.run(main)
    else:
        anyio.run(main)
    assert answer.cancelled
    assert begun == ["ended"]


def test_a_server_that_was_told_to_stop_lets_the_answer_come_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AppStatus, "should_exit", True)
    sent = b""

    async def events() -> AsyncIterator[ServerSentEvent]:
        for number in range(3):
            # As long as others need to notice that the server stops.
            await anyio.wait_all_tasks_blocked()
            yield ServerSentEvent(str(number))

    async def ended() -> None:
        pass

    async def receive() -> Message:
        return await anyio.sleep_forever()

    async def send(message: Message) -> None:
        nonlocal sent
        sent += message.get("body", b"")

    async def main() -> None:
        started = Started(Listener(), "base", None, (), None)  # type: ignore[arg-type]
        await AnswerStream(started, events(), ended=ended, headers={})(
            {"type": "http", "method": "POST"}, receive, send
        )

    anyio.run(main)
    assert sent.split() == [b"data:", b"0", b"data:", b"1", b"data:", b"2"]
