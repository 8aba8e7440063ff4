"""Child processes: how they are stopped, and what is told of one that ended."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from app.embedded.child import Child
from app.embedded.errors import PartFailedError


def start(command: list[str], tmp_path: Path, grace_seconds: float = 30.0) -> Child:
    return Child("thing", command, environment=os.environ, log=tmp_path / "thing.log", grace_seconds=grace_seconds)


def wait_for_line(child: Child) -> None:
    while not child.tail():
        time.sleep(0.01)


def test_a_child_that_ended_is_reported_with_its_exit_code_and_the_last_lines_it_wrote(tmp_path: Path) -> None:
    child = start(["sh", "-c", "for i in $(seq 1 40); do echo line $i; done; exit 3"], tmp_path)
    while child.alive:
        time.sleep(0.01)
    with pytest.raises(PartFailedError, match="thing ended with exit code 3") as caught:
        child.check()
    assert caught.value.log_tail[-1] == "line 40"
    assert len(caught.value.log_tail) == 15


def test_a_child_killed_by_a_signal_is_reported_as_such(tmp_path: Path) -> None:
    child = start(["sh", "-c", "kill -KILL $$"], tmp_path)
    while child.alive:
        time.sleep(0.01)
    with pytest.raises(PartFailedError, match="killed by signal 9"):
        child.check()


def test_a_child_may_end_in_its_own_way_when_stopped(tmp_path: Path) -> None:
    child = start(["sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"], tmp_path)
    wait_for_line(child)
    child.stop(lambda: False)
    assert child.tail()[-1] == "bye"


def test_a_child_that_ignores_the_request_is_killed_with_all_it_started(tmp_path: Path) -> None:
    script = (
        "trap '' TERM; sh -c 'trap \"\" TERM; while :; do sleep 0.05; done' & echo $!; while :; do sleep 0.05; done"
    )
    child = start(["sh", "-c", script], tmp_path, grace_seconds=0.2)
    wait_for_line(child)
    grandchild = psutil.Process(int(child.tail()[0]))
    child.stop(lambda: False)
    assert not child.alive
    psutil.wait_procs([grandchild], timeout=30)
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE


def test_hurry_cuts_the_grace_short(tmp_path: Path) -> None:
    child = start(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"], tmp_path, grace_seconds=3600)
    wait_for_line(child)
    child.stop(lambda: True)
    assert not child.alive


def test_the_log_of_the_run_before_is_kept(tmp_path: Path) -> None:
    for word in ("first", "second"):
        child = start(["echo", word], tmp_path)
        while child.alive:
            time.sleep(0.01)
    assert (tmp_path / "thing.log").read_text() == "second\n"
    assert (tmp_path / "thing.log.1").read_text() == "first\n"
