"""How a worker ends: its main process tells the pool's processes, which give their step back instead of finishing it.

Celery itself would wait for a running step, however long, or kill it and leave its lease to run out. A process that
hangs is killed; the pool starts another in its place.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import structlog

from app.process_name import process_name
from workers.with_parent import end_with_parent

LEAVE = signal.SIGUSR2
"""Not SIGTERM: Celery's pool takes that one for itself, after it has called `listen`."""
_leaving = threading.Event()
_pool: Any = None

log = structlog.get_logger(__name__)


def remember_pool(pool: Any) -> None:
    """In the main process: the pool whose processes are to be told."""
    global _pool
    _pool = pool


def tell_pool() -> None:
    """In the main process, on shutdown: ask the pool's processes to stop their step at the next chance."""
    if _pool is None:
        return
    for pid in _pool.info.get("processes", []):
        with suppress(ProcessLookupError):
            os.kill(pid, LEAVE)


def end_silent(owners: Collection[str]) -> None:
    """In the main process: kill those of the pool's processes that are among these owners of steps."""
    for pid in _pool.info.get("processes", []) if _pool is not None else []:
        if process_name(pid) in owners:
            log.error("silent_process_killed", pid=pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def listen() -> None:
    """In a pool process: heed `tell_pool`, and do not outlive the main process."""
    signal.signal(LEAVE, lambda _number, _frame: _leaving.set())
    end_with_parent()


def is_leaving() -> bool:
    """Whether this process was asked to stop."""
    return _leaving.is_set()
