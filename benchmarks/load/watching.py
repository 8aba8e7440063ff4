"""What a service's processes hold while it works: memory, file descriptors, threads, database connections.

Knows processes and numbers; not what the service does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil
from scipy.stats import theilslopes

from benchmarks.load.service import Running

EVERY_SECONDS = 0.5
"""A worker is between two tasks for no longer."""
LOOKS_A_SEARCH = 20
"""Which processes there are is asked again after so many looks: it costs more than their memory does."""
WINDOW_SECONDS = 60.0
"""A worker comes to a task's end in each."""

Point = tuple[float, float]
"""Seconds since the beginning, and MiB."""


@dataclass(frozen=True, slots=True)
class Held:
    """What was held at one moment."""

    descriptors: dict[str, int]
    threads: dict[str, int]
    connections: int


def look(service: Running) -> Held:
    """What is held now."""
    descriptors, threads = {}, {}
    for name, processes in service.processes().items():
        descriptors[name], threads[name] = 0, 0
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                descriptors[name] += process.num_fds()
                threads[name] += process.num_threads()
    return Held(descriptors, threads, service.connections())


@dataclass
class Watch:
    """Looks at memory again and again in a thread, from `__enter__` to `__exit__`.

    Attributes:
        memory: for each name of processes what they hold together, look by look.
    """

    service: Running
    memory: dict[str, list[Point]] = field(default_factory=dict)

    def __enter__(self) -> Watch:
        self._began, self._over = time.monotonic(), threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look_on(self) -> None:
        looks = 0
        found: dict[str, list[psutil.Process]] = {}
        while not self._over.wait(EVERY_SECONDS):
            if looks % LOOKS_A_SEARCH == 0:
                found = self.service.processes()
            looks += 1
            at = time.monotonic() - self._began
            try:
                for name, processes in found.items():
                    held = sum(process.memory_info().rss for process in processes) / 2**20
                    self.memory.setdefault(name, []).append((at, held))
            except psutil.NoSuchProcess:
                # Less than all would count as the least. Who is there now is asked at the next look.
                looks = 0


def floor_per_minute(points: Sequence[Point]) -> list[Point]:
    """The least of each whole minute, with the minute's number: what is kept, whatever was needed for a moment.

    A process that trains rises and falls by hundreds of MiB, and a line through all of that says more about the moments
    it was looked at than about what it keeps.
    """
    first, last = points[0][0], points[-1][0]
    windows = int((last - first) // WINDOW_SECONDS)
    least: dict[int, float] = {}
    for at, value in points:
        window = int((at - first) // WINDOW_SECONDS)
        if window < windows:
            least[window] = min(value, least.get(window, value))
    return [(float(window), value) for window, value in sorted(least.items())]


def slope(points: Sequence[Point]) -> float:
    """Theil and Sen's slope through (x, y): the median of those between any two points, which one odd point does not
    turn. 0 for a single point.
    """
    if len(points) < 2:
        return 0.0
    return float(theilslopes([y for _, y in points], [x for x, _ in points]).slope)
