"""How a worker ends: its main process tells the pool's processes, which give their step back instead of finishing it.

Celery itself would wait for a running step, however long, or kill it and leave its lease to run out.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Any

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
            os.kill(pid, signal.SIGTERM)


def listen() -> None:
    """In a pool process: heed SIGTERM, and do not outlive the main process."""
    signal.signal(signal.SIGTERM, _on_sigterm)
    threading.Thread(target=_watch_parent, args=(os.getppid(),), name="parent-watch", daemon=True).start()


def is_leaving() -> bool:
    """Whether this process was asked to stop."""
    return _leaving.is_set()


def _on_sigterm(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - what signal handlers get
    if _leaving.is_set():
        sys.exit(0)  # asked twice: now
    _leaving.set()


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_SECONDS)
    # The main process was killed, so nobody will stop this one; the lease runs out and another worker goes on.
    os._exit(1)
