"""The kernel's tie between a parent and its children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from app.embedded import die_with_parent
from app.embedded.child import Child

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tie is the Linux kernel's")

_PARENT = """
import os, sys, time
from pathlib import Path
from app.embedded.child import Child
child = Child("sleeper", ["sleep", "600"], environment=os.environ, log=Path(sys.argv[1]), grace_seconds=1)
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_child_dies_when_its_parent_is_killed_with_minus_nine(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PARENT, str(tmp_path / "child.log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
    gone, alive = psutil.wait_procs([child], timeout=30)
    assert (len(gone), alive) == (1, [])


def test_a_child_whose_parent_is_gone_already_ends_at_once() -> None:
    not_the_parent = os.getppid()
    done = subprocess.run([sys.executable, "-I", "-S", die_with_parent.__file__, str(not_the_parent), "sleep", "600"])
    assert done.returncode == -signal.SIGKILL


def test_the_wrapper_becomes_the_command_and_keeps_its_pid(tmp_path: Path) -> None:
    log = tmp_path / "echo.log"
    child = Child("shell", ["sh", "-c", "echo $$"], environment=os.environ, log=log, grace_seconds=1)
    while child.alive:
        pass
    assert log.read_text().strip() == str(child.pid)
