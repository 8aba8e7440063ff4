"""Ends a process with the one that started it, even if that one is killed. Must not know what either of them does.

Not by the kernel (app.embedded.die_with_parent): to it a parent is a thread, and threads of a worker come and go.
"""

from __future__ import annotations

import os
import threading
import time

_LOOK_SECONDS = 1.0


def end_with_parent() -> None:
    """Watch the parent from a thread, and end at once when it is gone."""
    threading.Thread(target=_watch, args=(os.getppid(),), name="parent-watch", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    # Nobody is left to stop this process; a lease that it holds runs out and another worker goes on.
    os._exit(1)
