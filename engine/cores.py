"""The process's cores, as places that pieces of work take: one each, or all of them for what needs the memory alone.

Several threads may have work at once; what was begun first gets free places first. Must not know what the work is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import count
from threading import Condition

import torch

from engine.errors import TrainingStoppedError

_LOOK_SECONDS = 0.2
"""How soon one that waits notices that it was told to stop, and shows that it is alive."""


class Cores:
    """What is taken of the cores, and who waits for some."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._numbers = count()
        self._shares = 0
        self._taken = 0
        self._all = 0
        self._waiting: list[tuple[int, int]] = []

    @property
    def busy(self) -> int:
        """Places that are taken."""
        return self._taken

    @property
    def waiting(self) -> int:
        """Pieces of work that wait for a place."""
        return len(self._waiting)

    @property
    def are_idle(self) -> bool:
        """Whether some cores work, and others have nothing to do."""
        with self._changed:
            return not self._waiting and 0 < self._taken < self._all

    @contextmanager
    def shared(self, threads: int) -> Iterator[Share]:
        """For the `with` block: a share in so many cores. Shares that were asked for earlier go first."""
        with self._changed:
            self._shares += 1
            self._all = threads
            share = Share(self, next(self._numbers), threads)
        try:
            yield share
        finally:
            with self._changed:
                self._shares -= 1
                if not self._shares:
                    # Work sets its threads to one, and the maths library keeps one number for the whole process.
                    torch.set_num_threads(threads)

    @contextmanager
    def taken(self, share: Share, place: int, cores: int, should_stop: Callable[[], bool]) -> Iterator[None]:
        """See `Share.taken`."""
        ticket = (share.number, place)
        with self._changed:
            self._waiting.append(ticket)
            try:
                while not should_stop():
                    if ticket == min(self._waiting) and self._taken + cores <= share.all:
                        break
                    self._changed.wait(_LOOK_SECONDS)
                else:
                    raise TrainingStoppedError("the work was stopped before it had a core")
                self._taken += cores
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._taken -= cores
                self._changed.notify_all()


@dataclass(frozen=True)
class Share:
    """One thread's claim to cores.

    Attributes:
        number: shares with a lower one go first.
        all: the cores there are.
    """

    cores: Cores
    number: int
    all: int

    def taken(self, place: int, cores: int, should_stop: Callable[[], bool]) -> AbstractContextManager[None]:
        """For the `with` block: so many cores, as soon as they are free.

        Args:
            place: of the share's work, those with a lower one go first.

        Raises:
            TrainingStoppedError: `should_stop` said so first.
        """
        return self.cores.taken(self, place, cores, should_stop)


CORES = Cores()
"""This process's."""
