"""The answering engine as the API's process sees it: asks go over the line, a thread hands out what comes back.

Answers are waited for by the event loop, not by threads. Must not know HTTP or the database.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any

from app.answers.wire import Ask, Cancel, Ended, Figures, Forget, Line, Look, Piece, Reply
from engine.errors import EngineError
from engine.prompts import Message
from engine.timeline import Timeline

if TYPE_CHECKING:
    from engine.decoding import FinishReason

LOOK_SECONDS = 5.0
"""How long the engine may take to say how busy it is."""
FORGET_SECONDS = 30.0
"""How long it may take to forget."""


class EngineAnswer:
    """One answer in the making. Iterate to get its text piece by piece, or await `text`."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self._cancel = cancel
        self._arrived: deque[str | Ended] = deque()
        self._notify: Callable[[], object] = lambda: None
        self._over = False
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.finish_reason: FinishReason | None = None
        self.timeline = Timeline()

    async def __aiter__(self) -> AsyncIterator[str]:
        """Pieces of text as they are decoded. Raises what made the engine fail."""
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        self._notify = lambda: loop.call_soon_threadsafe(arrived.set)
        while True:
            arrived.clear()
            while self._arrived:
                # The end stays, for whoever asks again.
                if isinstance(first := self._arrived[0], Ended):
                    if first.error is not None:
                        raise first.error
                    return
                self._arrived.popleft()
                yield first
            await arrived.wait()

    async def text(self) -> str:
        """The whole answer, once it is complete; what there is of it, if it was cancelled."""
        return "".join([piece async for piece in self])

    async def ended(self) -> None:
        """Returns when the engine has nothing more to do with this answer."""
        with suppress(Exception):
            async for _ in self:
                pass

    def cancel(self) -> None:
        """Stop decoding this answer, if it is not over."""
        if not self._over:
            self._cancel()

    def hear(self, said: Piece | Ended) -> None:
        """Take in what the engine said of it (the receiving thread only)."""
        self.completion_tokens = max(self.completion_tokens, said.tokens)
        if said.text:
            self._arrived.append(said.text)
        if isinstance(said, Ended):
            self.finish_reason, self.timeline = said.finish_reason, said.timeline
            self._over = True
            self._arrived.append(said)
        with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            self._notify()


class EngineClient:
    """Threads may share it; one of them calls `receive_until_end`."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._numbers = count()
        self._answers: dict[int, EngineAnswer] = {}
        self._replies: dict[int, Future[Any]] = {}
        self._gone = False
        self._lock = Lock()

    def submit(
        self,
        messages: Sequence[Message],
        *,
        path: str | None,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        seed: int | None,
        stop: Sequence[str],
        owner: str,
        streamed: bool,
    ) -> EngineAnswer:
        """Ask for an answer; returns once it is queued and its stack, if it has one, is loaded.

        Args: see `Ask`, and `engine.answering.AnsweringEngine.submit`.

        Raises:
            PromptTooLongError, QueueFullError: as the engine's `submit`. EngineError: the engine has ended.
            StackMismatchError, AdapterNotFoundError, AdapterCorruptError, StoreError: the version cannot be loaded.
        """
        number = next(self._numbers)
        answer = EngineAnswer(lambda: self._say(Cancel(number)))
        asked = Ask(
            number, tuple(messages), path, owner, streamed, max_new_tokens, temperature, top_p, seed, tuple(stop)
        )
        with self._lock:
            self._answers[number] = answer
        try:
            answer.prompt_tokens = self._asked(asked)
        except BaseException:
            with self._lock:
                self._answers.pop(number, None)
            raise
        return answer

    def forget(self, prefix: str) -> None:
        """Drop loaded stacks by the beginning of their path.

        Raises:
            TimeoutError: the engine does not say that it did. EngineError: it has ended, so it holds none.
        """
        self._asked(Forget(next(self._numbers), prefix), FORGET_SECONDS)

    def figures(self) -> Figures:
        """How busy the engine is. Raises: TimeoutError, EngineError."""
        found: Figures = self._asked(Look(next(self._numbers)), LOOK_SECONDS)
        return found

    def receive_until_end(self) -> None:
        """Hand out what comes over the line; returns when the engine has ended and everybody knows."""
        with suppress(EOFError, OSError):
            while True:
                for said in self._line.receive():
                    self._heard(said)
        error = EngineError("the answering engine has ended. It is being started again: try again in a moment.")
        with self._lock:
            self._gone = True
            replies, answers = list(self._replies.values()), list(self._answers.items())
            self._replies.clear()
            self._answers.clear()
        for reply in replies:
            reply.set_exception(error)
        for number, answer in answers:
            answer.hear(Ended(number, "", 0, "cancelled", Timeline(), error))

    def _heard(self, said: Piece | Ended | Reply) -> None:
        if isinstance(said, Reply):
            with self._lock:
                reply = self._replies.pop(said.number, None)
            if reply is None:
                return  # nobody waits for it any more
            if said.error is None:
                reply.set_result(said.value)
            else:
                reply.set_exception(said.error)
            return
        with self._lock:
            over = isinstance(said, Ended)
            answer = self._answers.pop(said.number, None) if over else self._answers.get(said.number)
        if answer is not None:
            answer.hear(said)

    def _asked(self, what: Ask | Forget | Look, seconds: float | None = None) -> Any:
        reply: Future[Any] = Future()
        with self._lock:
            if self._gone:
                raise EngineError("the answering engine has ended. Try again in a moment.")
            self._replies[what.number] = reply
        self._say(what)
        try:
            return reply.result(seconds)
        finally:
            with self._lock:
                self._replies.pop(what.number, None)

    def _say(self, what: object) -> None:
        # A line that is broken off ends `receive_until_end`, which tells everybody.
        with suppress(OSError):
            self._line.send(what)
