"""Fixtures of every test: real servers (one of each per test process), fresh databases, settings of their own."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

# Before anything loads torch or a tokenizer: idle OpenMP threads must not spin, and nothing is fetched from a network.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# The GPU's kernels run in Triton's interpreter, here and on machines with a GPU.
os.environ.setdefault("TRITON_INTERPRET", "1")
# A script's background jobs ignore Ctrl-C, and so would every process that a test starts and stops by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest

from app.database import Database
from app.settings import Settings
from tests.support.families import save_tiny_model
from tests.support.keys import KEYS
from tests.support.servers import PostgresServer, RedisServer
from tests.support.spans import Spans, recorded

_TEMPLATE = "migrated"
_numbers = count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running PostgreSQL with a database `migrated` to copy. Do not stop it: other tests share it."""
    # Not pytest's folder: a Unix socket's path must be short, and another user than root must be able to enter.
    with tempfile.TemporaryDirectory(prefix="milp-pg-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(Path(folder))
        server.start()
        try:
            server.execute(f"CREATE DATABASE {_TEMPLATE}")
            _upgrade(server.url(_TEMPLATE))
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.sqlite3"
    _upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A fresh, migrated PostgreSQL database."""
    yield from _postgres_database(postgres_server, _TEMPLATE)


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A fresh, migrated SQLite database."""
    path = tmp_path / "milp.sqlite3"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh, migrated database; the test runs once on each kind."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table; the test runs once on each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite3'}"
    else:
        yield from _postgres_database(request.getfixturevalue("postgres_server"), "template1")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An open database with all tables, on each kind."""
    opened = Database(database_url)
    yield opened
    opened.dispose()


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisServer:
    """A running, empty Redis. A test may stop, kill and start it: the next test finds it running again."""
    shared_redis.start()
    shared_redis.flush()
    return shared_redis


@pytest.fixture
def spans() -> Iterator[Spans]:
    """What this process traces during the test."""
    with recorded() as made:
        yield made


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a random model that starts and answers in no time, for tests of what is around a model."""
    return str(save_tiny_model("llama", tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_base: str) -> Settings:
    """Default settings with a data folder, a key and a tiny base of the tests' own, whatever the environment says."""
    for name in [name for name in os.environ if name.startswith("MILP_")]:
        monkeypatch.delenv(name)
    # The receivers of tests are on the loopback.
    own = {"data_dir": tmp_path / "milp", "api_keys": KEYS, "base_model": tiny_base}
    return Settings(_env_file=None, webhooks_private=True, **own)


def _upgrade(url: str) -> None:
    database = Database(url)
    database.upgrade()
    database.dispose()


def _postgres_database(server: PostgresServer, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.url(name)
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")
