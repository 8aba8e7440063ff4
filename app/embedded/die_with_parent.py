"""Ties a process's life to its parent's, so that `kill -9` on the parent leaves no orphan.

Used in two ways: `die_with_parent` by a process on itself, and this file as a program that ties itself and then becomes
another one (`die_with_parent.py PARENT_PID COMMAND...`; the tie outlives exec). It is a program of its own because
Python's `preexec_fn` may deadlock in a parent with threads. It must import nothing of this project: it runs with
`python -I -S` and should cost a few milliseconds.

Linux only (`PR_SET_PDEATHSIG`, prctl(2)). Elsewhere nothing is tied: an ordinary end, Ctrl-C and SIGTERM still stop
every child, kill -9 on the parent does not.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process (SIGKILL) when the parent's thread that started it ends.

    Args:
        parent_pid: who the parent is meant to be. If it is already gone, this process ends at once.

    Raises:
        OSError: the kernel refused.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if os.getppid() != parent_pid:  # it died before the tie was made: no signal will come
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
