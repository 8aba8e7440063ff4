"""One answer in the making, as the engine's callers hold it. Must not know HTTP, nor how it is decoded."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from threading import Event
from time import monotonic
from typing import TypeAlias

from engine.base import Base
from engine.decoding import FinishReason, Row
from engine.timeline import Timeline

Piece: TypeAlias = str | BaseException | None
"""More of the text; what made the engine fail; None: that was all."""
Listener: TypeAlias = "Callable[[Answer, Piece], None]"


class Answer:
    """One answer in the making. Iterate to get its text piece by piece, or call `text`; a listener is told instead."""

    def __init__(
        self,
        base: Base,
        row: Row,
        stop: Sequence[str],
        owner: str,
        on_cancel: Callable[[Answer], None],
        listener: Listener | None = None,
    ) -> None:
        self._base = base
        self._row = row
        self._stop = tuple(stop)
        self._owner = owner
        self._on_cancel = on_cancel
        self._pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
        self._listener = listener or (lambda _answer, piece: self._pieces.put(piece))
        self._complete = Event()
        self._text = ""
        self._sent = 0
        self._submitted = monotonic()
        self.prompt_tokens = len(row.prompt)
        self.timeline = Timeline()

    @property
    def completion_tokens(self) -> int:
        return len(self._row.tokens)

    @property
    def finish_reason(self) -> FinishReason | None:
        return self._row.finish_reason

    def __iter__(self) -> Iterator[str]:
        """Pieces of text as they are decoded. Raises what made the engine fail."""
        while (piece := self._pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def text(self) -> str:
        """The whole answer, once it is complete."""
        # Not piece by piece: with every token a thread would wake that the decoding ones then wait for.
        self._complete.wait()
        return "".join(self)

    def cancel(self) -> None:
        """Stop decoding this answer; its place is free from the next token on."""
        if self._row.finish_reason is None:
            self._row.finish_reason = "cancelled"
            self._on_cancel(self)

    def _read(self) -> None:
        """Look at what was decoded since the last call: a stop text ends the answer (engine thread only)."""
        self._text = self._base.format.decode(self._row.tokens)
        cuts = [at for at in (self._text.find(stop) for stop in self._stop) if at >= 0]
        if cuts:
            self._text = self._text[: min(cuts)]
            self._row.finish_reason = "stop"

    def _publish(self, *, done: bool) -> None:
        """Hand over what was read (engine thread only).

        Args:
            done: whether that is all, for the row has left. One that is cancelled since leaves with the next token.
        """
        # Held back while the answer goes on: characters not yet whole (one mark for each of their bytes, with some
        # tokenizers), and what may be the beginning of a stop text.
        text, unsure = self._text, max((len(stop) for stop in self._stop), default=1) - 1
        held = 0 if done else max(unsure, len(text) - len(text.rstrip("�")))
        piece = text[self._sent : len(text) - held]
        if done:
            self.timeline.ended = time.time()
        if piece:
            self._sent += len(piece)
            self._listener(self, piece)
        if done:
            self._listener(self, None)
            self._complete.set()

    def _fail(self, error: BaseException) -> None:
        self._row.finish_reason = "cancelled"
        self._listener(self, error)
        self._complete.set()
