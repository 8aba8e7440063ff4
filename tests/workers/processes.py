"""A real Celery worker for tests: its own process group, stopped or killed with everything in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from app.settings import Settings
from tests.support.servers import leashed

_ROOT = Path(__file__).parents[2]
T = TypeVar("T")


class WorkerProcess:
    """`celery worker` with these settings; it ends at the latest when the tests do."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self._settings = settings
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--without-gossip", "--without-mingle", "--loglevel", "warning"]
        command = [sys.executable, "-m", "celery", "-A", "workers.celery_app", "worker", *options]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MILP_")}
        environment |= {f"MILP_{name.upper()}": _as_text(value) for name, value in self._settings}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                leashed(command, signal.SIGKILL),
                cwd=_ROOT,
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                process_group=0,
            )

    def kill(self) -> None:
        """kill -9 of the main process and its pool, as when the machine goes."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator would; what is left after that is killed."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._end(signal.SIGKILL)
                raise AssertionError(f"the worker did not stop when told to:\n{self.log()}") from None
        self._end(signal.SIGKILL)

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def wait_for(self, what: Callable[[], T | None], seconds: float = 200.0) -> T:
        """Ask until there is something, or fail with the worker's log."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = what()
            if found:
                return found
            if self._process is not None and self._process.poll() is not None:
                raise AssertionError(f"the worker ended by itself:\n{self.log()}")
            time.sleep(0.02)
        raise AssertionError(f"waited {seconds} s in vain:\n{self.log()}")

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, how)
        self._process.wait()
        self._process = None


def _as_text(value: object) -> str:
    return "{}" if value == {} else str(value)
