"""Signals that ask the command line to end."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_PROGRAM = """
import os, signal, sys
from app.cli.errors import Terminated
from app.cli.signals import end_in_order
if "nohup" in sys.argv:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
end_in_order()
try:
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    print("went on")
except Terminated as error:
    print("stopped in order by", error)
"""


def said(*arguments: str) -> str:
    ran = subprocess.run([sys.executable, "-c", _PROGRAM, *arguments], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


@pytest.mark.parametrize("name", [signal.SIGTERM.name, signal.SIGHUP.name])
def test_a_request_to_end_is_an_exception_that_passes_every_with_block(name: str) -> None:
    assert said(name) == f"stopped in order by {name}"


def test_under_nohup_a_closed_terminal_ends_nothing() -> None:
    assert said("SIGHUP", "nohup") == "went on"
