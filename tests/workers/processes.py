"""A real Celery worker and a real API for tests: each its own process group, killed with everything in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import httpx

from app.settings import Settings
from tests.support.servers import free_port, leashed

_ROOT = Path(__file__).parents[2]
T = TypeVar("T")


class ServiceProcess:
    """A process of the service with these settings; it ends at the latest when the tests do.

    Start it from a thread that lives on: to Linux, the death of the starting thread is that of the process.
    """

    def __init__(self, name: str, command: Sequence[str], settings: Settings, log: Path) -> None:
        self._name = name
        self._command = [sys.executable, "-m", *command]
        self._settings = settings
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"the {self._name} was not started"
        return self._process.pid

    def start(self) -> None:
        self._process = _started(self._command, self._settings, self._log)

    def kill(self) -> None:
        """kill -9 of the process and all it started, as when the machine goes."""
        self._end(signal.SIGKILL)

    def stop(self) -> float:
        """End it as an operator would, and say how many seconds that took; what is left after that is killed."""
        began = time.monotonic()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._end(signal.SIGKILL)
                raise AssertionError(f"the {self._name} did not stop when told to:\n{self.log()}") from None
        took = time.monotonic() - began
        self._end(signal.SIGKILL)
        return took

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def wait_for(self, what: Callable[[], T | None], seconds: float = 200.0) -> T:
        """Ask until there is something, or fail with the process's log."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = what()
            if found:
                return found
            if self._process is not None and self._process.poll() is not None:
                raise AssertionError(f"the {self._name} ended by itself:\n{self.log()}")
            time.sleep(0.02)
        raise AssertionError(f"waited {seconds} s in vain:\n{self.log()}")

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, how)
        self._process.wait()
        self._process = None


class WorkerProcess(ServiceProcess):
    """`celery worker`: its main process, which dispatches, and one pool process, which works."""

    def __init__(self, settings: Settings, log: Path) -> None:
        options = ["--without-gossip", "--without-mingle", "--loglevel", "warning"]
        super().__init__("worker", ["celery", "-A", "workers.celery_app", "worker", *options], settings, log)


class ApiProcess(ServiceProcess):
    """The web service on a port of its own, as the image starts it."""

    def __init__(self, settings: Settings, log: Path) -> None:
        port = str(free_port())
        options = ["--host", "127.0.0.1", "--port", port, "--log-level", "warning", "--timeout-graceful-shutdown", "10"]
        super().__init__("API", ["uvicorn", "--factory", "app.main:create_app", *options], settings, log)
        self.url = f"http://127.0.0.1:{port}"

    def wait_until_alive(self) -> None:
        self.wait_for(lambda: _is_alive(self.url), 120)


@contextmanager
def api_process(settings: Settings, log: Path) -> Iterator[str]:
    """The web service in a process of its own, as a URL once it answers; killed with kill -9 when the block ends."""
    process = ApiProcess(settings, log)
    process.start()
    try:
        process.wait_until_alive()
        yield process.url
    finally:
        process.kill()


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


def _as_text(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)
