"""Runs a server that dies with the process that started it, even if that is killed.

`python leash.py PARENT_PID SIGNAL USER COMMAND...`: the signal is the one sent then; USER "-" keeps the present one.
It becomes the command, so the pid stays.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, death_signal, user, *command = sys.argv[1:]
    if user != "-":
        entry = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    if sys.platform == "linux":
        # After the change of user, which would undo it; the kernel keeps it across exec.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(death_signal))
    if os.getppid() != int(parent):
        sys.exit("the parent is gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
