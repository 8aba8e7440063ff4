"""What the API's process and its answering engine's say to each other, over one socket that nobody else has.

Whatever is asked has a number, and the replies and answers carry it. Both ends are of one version and trust each other,
so it is pickled. Must not import torch.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from threading import Lock
from typing import TYPE_CHECKING, Any

from engine.prompts import Message
from engine.timeline import Timeline

if TYPE_CHECKING:
    from engine.decoding import FinishReason


_TO_SPARE = 8


def asks_at_once(max_batch_rows: int, max_queue: int) -> int:
    """How many answers may be begun at once: more than the engine has places for, so that the engine itself can say
    that its queue is full, and for how long."""
    return max_batch_rows + max_queue + _TO_SPARE


@dataclass(frozen=True, slots=True)
class Ready:
    """The base is loaded."""

    base: str
    digest: str
    device: str
    dtype: str


@dataclass(frozen=True, slots=True)
class NotReady:
    """The base cannot be loaded; `detail` says why, where it is something that the service's owner can change."""

    detail: str | None


@dataclass(frozen=True, slots=True)
class Ask:
    """Wants an answer. The reply is its number of prompt tokens, or why there is none.

    Args:
        path: of the version that answers, in the store; None is the base.
        streamed: whether its text is wanted as it is decoded, or all at once.
    """

    number: int
    messages: tuple[Message, ...]
    path: str | None
    owner: str
    streamed: bool
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    stop: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """No more of this answer is wanted. It ends, and says so."""

    number: int


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop the stacks whose path begins so. The reply comes when that is done."""

    number: int
    prefix: str


@dataclass(frozen=True, slots=True)
class Look:
    """The reply is how busy the engine is: `Figures`."""

    number: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What the engine is at.

    Args:
        waiting, running: answers.
        stacks: those in the bank.
        evictions: how many were dropped for others since the engine began.
    """

    waiting: int = 0
    running: int = 0
    stacks: int = 0
    evictions: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """To what was asked under this number."""

    number: int
    value: int | Figures | None = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """More of a streamed answer; `tokens` are those so far."""

    number: int
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Ended:
    """An answer is complete, with the text that was not sent before, or broke off with an error."""

    number: int
    text: str
    tokens: int
    finish_reason: FinishReason | None
    timeline: Timeline
    error: BaseException | None


class Line:
    """One end of the socket. Several threads may send; one receives."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._connection = Connection(os.dup(end.fileno()))
        self._sending = Lock()

    def send(self, what: object) -> None:
        """Raises: OSError, the other end is gone."""
        with self._sending:
            self._connection.send(what)

    def receive(self) -> Any:
        """Raises: EOFError, OSError: the other end is gone."""
        return self._connection.recv()

    def close(self) -> None:
        """End it: also whoever waits at either end to receive learns of it."""
        with suppress(OSError):  # closed before, or by the other end
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
