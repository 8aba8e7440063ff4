"""What a process is called, for people and others of its machine: as owner of a step, or among API processes."""

from __future__ import annotations

import socket


def process_name(pid: int) -> str:
    """The name of a process of this machine."""
    return f"{socket.gethostname()}:{pid}"
