"""How a worker ends: its main process tells the pool's processes, which give their step back instead of finishing it.

Celery itself would wait for a running step, however long, or kill it and leave its lease to run out.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from typing import Any

LEAVE = signal.SIGUSR2
"""Not SIGTERM: Celery's pool takes that one for itself, after it has called `listen`."""
_PARENT_SECONDS = 1.0
_leaving = threading.Event()
_pool: Any = None


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


def listen() -> None:
    """In a pool process: heed `tell_pool`, and do not outlive the main process."""
    signal.signal(LEAVE, lambda _number, _frame: _leaving.set())
    threading.Thread(target=_watch_parent, args=(os.getppid(),), name="parent-watch", daemon=True).start()


def is_leaving() -> bool:
    """Whether this process was asked to stop."""
    return _leaving.is_set()


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_SECONDS)
    # The main process was killed, so nobody will stop this one; the lease runs out and another worker goes on.
    os._exit(1)
