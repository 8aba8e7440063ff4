"""The whole service on one machine: migrated database, private Redis, one worker, the API; started, watched, stopped.

Used as a context manager: whatever was started is stopped when the block ends, however it ends, and also when a later
part fails to start. Must not know the command line, nor import what it starts: the parts are named, not imported.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from app.embedded.child import Child
from app.embedded.data_folder import DataFolderLock
from app.embedded.errors import EmbeddedError, PartFailedError, PortInUseError
from app.embedded.own_key import keep_own_key
from app.embedded.private_redis import PrivateRedis
from app.errors import ServiceError
from app.settings import Settings

_ANSWER_SECONDS = 120.0
"""Time for a part to answer at all; generous, since one that fails ends and is seen at once."""
_RECOVERY_SECONDS = 3.0
"""How long the API may say that something is wrong, and not only loading, before it is believed."""
_BASE_IS_LOADING = "is being loaded"
"""In /readyz's words, what only needs waiting for."""
_KEEP_ALIVE_SECONDS = "75"
"""Longer than the 60 s for which proxies and clients keep a connection that is idle: none is closed as it is used."""
_API_GRACE_SECONDS = 10.0
_WORKER_GRACE_SECONDS = 12.0
"""Longer than the worker needs to give back its step. What is killed after that is taken up again by lease."""
_POLL_SECONDS = 0.1


def _silent(_: str) -> None:
    pass


class EmbeddedService:
    """A service of our own, from `__enter__` until `__exit__`.

    Args:
        settings: port 0 means any free one.
        say: told in a few words what is being started.

    Attributes:
        settings: what the parts run with, once entered: absolute paths, the real port and the broker's URL.
        api_key: one that lets in, once entered: of the settings, else the one kept in the data folder.

    Raises (on entering):
        AlreadyRunningError, PortInUseError, RedisMissingError, PartFailedError, EmbeddedError.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None] = _silent) -> None:
        self.settings = settings.model_copy(update={"data_dir": settings.data_dir.resolve()})
        self.api_key = next(iter(settings.api_keys), "")
        self._say = say
        self._children: list[Child] = []
        self._lock: DataFolderLock | None = None

    @property
    def url(self) -> str:
        """Where its API answers."""
        return local_url(self.settings)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def check(self) -> None:
        """Raises PartFailedError if a part has ended."""
        for child in self._children:
            child.check()

    def wait(self) -> None:
        """Block for as long as all parts run; ends by PartFailedError or by a signal's exception."""
        while True:
            self.check()
            time.sleep(_POLL_SECONDS * 5)

    def _start(self) -> None:
        self._lock = DataFolderLock(self.settings.data_dir)
        self._use(port=_bindable_port(self.settings.host, self.settings.port))
        self._lock.announce(self.url)
        logs = self.settings.data_dir / "logs"

        if self.settings.broker_url:
            _require_broker(self.settings.broker_url)
        else:
            self._say("private Redis")
            redis = PrivateRedis(self.settings.data_dir / "redis", log=logs / "redis.log", environment=os.environ)
            self._children.append(redis.child)
            redis.wait_until_ready()
            self._use(broker_url=redis.broker_url)

        self._say("database")
        _upgrade_database(self.settings)
        # Whoever runs it with keys of the settings has said whom to let in.
        if not self.settings.api_keys:
            self.api_key = keep_own_key(self.settings)

        self._say("worker and API")
        environment = child_environment(self.settings)
        worker = self._start_worker(logs / "worker.log", environment)
        api = self._start_api(logs / "api.log", environment)
        self._wait_for_api(api)
        self._wait_for_worker(worker)

    def _use(self, *, port: int | None = None, broker_url: str | None = None) -> None:
        update = {"port": port, "broker_url": broker_url}
        self.settings = self.settings.model_copy(update={k: v for k, v in update.items() if v is not None})

    def _start_worker(self, log: Path, environment: dict[str, str]) -> Child:
        celery = ["-A", "workers.celery_app", "--quiet", "worker", "--pool=prefork", "--concurrency=1"]
        alone = ["--without-gossip", "--without-mingle"]
        child = Child(
            "worker",
            [sys.executable, "-m", "celery", *celery, *alone],
            environment=environment,
            log=log,
            grace_seconds=_WORKER_GRACE_SECONDS,
        )
        self._children.append(child)
        return child

    def _start_api(self, log: Path, environment: dict[str, str]) -> Child:
        uvicorn = ["--factory", "app.main:create_app", "--host", self.settings.host, "--port", str(self.settings.port)]
        # Until the service has set up its own lines, uvicorn writes plain text: only what goes wrong.
        options = ["--log-level", "warning", "--no-access-log", "--timeout-graceful-shutdown", "5"]
        options += ["--timeout-keep-alive", _KEEP_ALIVE_SECONDS]
        child = Child(
            "API",
            [sys.executable, "-m", "uvicorn", *uvicorn, *options],
            environment=environment,
            log=log,
            grace_seconds=_API_GRACE_SECONDS,
        )
        self._children.append(child)
        return child

    def _wait_for_api(self, child: Child) -> None:
        """Return when /readyz is good. A base that is still loading, or being fetched, may take as long as it takes."""
        silent_since = unready_since = time.monotonic()
        while True:
            self.check()
            wrong = _what_is_not_ready(self.url)
            if wrong == "":
                return
            now = time.monotonic()
            if wrong is not None:
                silent_since = now
            if wrong is None or _BASE_IS_LOADING in wrong:
                unready_since = now
            if now - silent_since > _ANSWER_SECONDS:
                raise _silent_part(child)
            if now - unready_since > _RECOVERY_SECONDS:
                raise PartFailedError(f"The API is not ready. {wrong} Its log is {child.log}")
            time.sleep(_POLL_SECONDS * 3)  # it logs each of these

    def _wait_for_worker(self, child: Child) -> None:
        deadline = time.monotonic() + _ANSWER_SECONDS
        while not _worker_answers(self.settings.broker_url):
            self.check()
            if time.monotonic() > deadline:
                raise _silent_part(child)

    def _stop(self) -> None:
        """Stop the parts, last started first; a signal meanwhile means: at once."""
        with _signals_hurry() as hurry:
            while self._children:
                self._children[-1].stop(hurry)
                self._children.pop()
            if self._lock is not None:
                self._lock.release()
                self._lock = None


def local_url(settings: Settings) -> str:
    """Where a service with these settings answers on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def child_environment(settings: Settings) -> dict[str, str]:
    """This process's environment, with every setting spelled out, so that the parts cannot read others than we did."""
    values = settings.model_dump(mode="json")
    spelled = {f"MILP_{name.upper()}": v if isinstance(v, str) else json.dumps(v) for name, v in values.items()}
    # Two processes share the cores: threads that spin while they wait would slow both several times over.
    return {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1", **os.environ, **spelled}


def _upgrade_database(settings: Settings) -> None:
    from app.database import Database

    database = Database(settings.resolved_database_url)
    try:
        database.upgrade()
    except ServiceError as error:
        raise EmbeddedError(error.detail) from error
    finally:
        database.dispose()


def _require_broker(url: str) -> None:
    """Before anything is started that would only wait for it."""
    from app import broker

    try:
        broker.ping(url)
    except ServiceError as error:
        raise EmbeddedError(f"{error.detail} Without that setting, `milp up` starts a Redis of its own.") from error


def _bindable_port(host: str, port: int) -> int:
    """`port` if the API can bind it on `host`; for 0 any free one.

    Raises:
        PortInUseError: it cannot.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as uvicorn binds it
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortInUseError(
                f"The API cannot use port {port} on {host} ({error.strerror}). Stop what is using it, "
                "or choose another with --port or MILP_PORT."
            ) from error
        bound: int = probe.getsockname()[1]
        return bound


def _silent_part(child: Child) -> PartFailedError:
    said = f"The {child.name} did not answer within {_ANSWER_SECONDS:.0f} s. Its log is {child.log}"
    return PartFailedError(said, child.tail())


def _what_is_not_ready(url: str) -> str | None:
    """What /readyz complains of: nothing (""), or None while nobody answers."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback never goes through a proxy
    try:
        with direct.open(f"{url}/readyz", timeout=10):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            body = error.read()
    except OSError:
        return None
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"It answers {body[:200]!r}."


def _worker_answers(broker_url: str) -> bool:
    from celery import Celery

    with Celery(broker=broker_url, set_as_current=False) as celery:
        return bool(celery.control.ping(timeout=1.0))


@contextmanager
def _signals_hurry() -> Iterator[Callable[[], bool]]:
    """While stopping, Ctrl-C and SIGTERM do not break off the stopping; they make it shorter."""
    hurried = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield hurried.is_set
        return

    def hurry(_number: int, _frame: FrameType | None) -> None:
        hurried.set()

    before = {number: signal.signal(number, hurry) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield hurried.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
