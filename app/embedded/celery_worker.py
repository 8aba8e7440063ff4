"""The embedded worker's program: Celery's own command line, whose pool processes die with it.

The kernel's tie to the parent is not inherited, so a pool process would outlive a worker killed with -9 until its task
ends. Pool processes are spawned, and a spawned Python process first imports its parent's main module, under the name
`__mp_main__`: this one. That is where it ties itself. Must not import the workers: Celery finds them by name.
"""

from __future__ import annotations

import os

from app.embedded.die_with_parent import die_with_parent

_WORKER_PID = "MILP_EMBEDDED_WORKER_PID"


def main() -> None:
    """Run `celery` with this process's arguments."""
    os.environ[_WORKER_PID] = str(os.getpid())
    from celery.__main__ import main as celery

    celery()


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":
    die_with_parent(int(os.environ[_WORKER_PID]))
