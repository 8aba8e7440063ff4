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

from benchmarks.load.service import Running

EVERY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Held:
    """What was held at one moment (seconds since the first look)."""

    at: float
    memory_mib: dict[str, float]
    descriptors: dict[str, int]
    threads: dict[str, int]
    connections: int


@dataclass
class Watch:
    """Looks again and again in a thread, from `__enter__` to `__exit__`."""

    service: Running
    seen: list[Held] = field(default_factory=list)

    def __enter__(self) -> Watch:
        self._began, self._over = time.monotonic(), threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            self.seen.append(look(self.service, time.monotonic() - self._began))


def look(service: Running, at: float = 0.0) -> Held:
    """What is held now."""
    memory, descriptors, threads = {}, {}, {}
    for name, processes in service.processes().items():
        memory[name], descriptors[name], threads[name] = 0.0, 0, 0
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                memory[name] += process.memory_info().rss / 2**20
                descriptors[name] += process.num_fds()
                threads[name] += process.num_threads()
    return Held(at, memory, descriptors, threads, service.connections())


def slope_per_minute(points: Sequence[tuple[float, float]]) -> float:
    """Least squares through (seconds, value): by how much the value grows in a minute."""
    count = len(points)
    middle_x, middle_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return 60.0 * sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0
