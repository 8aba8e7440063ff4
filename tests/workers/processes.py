"""A real Celery worker and a real API for tests: each its own process group, killed with everything in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import httpx

from app.settings import Settings
from tests.support.servers import free_port, leashed

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
        self._process = _started(command, self._settings, self._log)

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
        _end_group(self._process, how)
        self._process = None


@contextmanager
def api_process(settings: Settings, log: Path) -> Iterator[str]:
    """The web service in a process of its own, as a URL once it answers; killed with kill -9 when the block ends."""
    port = str(free_port())
    options = ["--host", "127.0.0.1", "--port", port, "--log-level", "warning"]
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", *options]
    process = _started(command, settings, log)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while not _is_alive(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the API did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.05)
        yield url
    finally:
        _end_group(process, signal.SIGKILL)


def _is_alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _started(command: list[str], settings: Settings, log: Path) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MILP_")}
    environment |= {f"MILP_{name.upper()}": _as_text(value) for name, value in settings}
    with log.open("ab") as output:
        return subprocess.Popen(
            leashed(command, signal.SIGKILL),
            cwd=_ROOT,
            env=environment,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            process_group=0,
        )


def _end_group(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, how)
    process.wait()


def _as_text(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)
