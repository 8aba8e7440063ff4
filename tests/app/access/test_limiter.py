"""What each key may use: counted in Redis for all processes together, and by each for itself while Redis is away."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from app.access.identity import Identity, Limits
from app.access.limiter import Limiter
from app.embedded.private_redis import PrivateRedis
from app.errors import LimitReachedError, TokenQuotaReachedError
from app.metrics import Metrics
from tests.support.servers import RedisServer


def key(name: str = "key_1", requests: int = 0, tokens: int = 0) -> Identity:
    return Identity("default", name, frozenset(), Limits(requests, tokens, 0))


def unshared(metrics: Metrics) -> float:
    lines = metrics.text().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("milp_limits_unshared_total "))


@pytest.fixture(params=["own", "redis"])
def limiter(request: pytest.FixtureRequest) -> Limiter:
    url = request.getfixturevalue("redis_server").url if request.param == "redis" else ""
    return Limiter(url, Metrics())


def test_requests_over_the_limit_are_refused_with_the_time_to_wait(limiter: Limiter) -> None:
    mine = key(requests=3)
    left = [dict(limiter.count_request(mine)) for _ in range(3)]
    assert [headers["RateLimit"].split(";")[1] for headers in left] == ["r=2", "r=1", "r=0"]
    assert {headers["RateLimit-Policy"] for headers in left} == {'"requests";q=3;w=60'}
    with pytest.raises(LimitReachedError) as caught:
        limiter.count_request(mine)
    headers = caught.value.headers
    assert 1 <= int(headers["Retry-After"]) <= 60
    assert headers["RateLimit"] == f'"requests";r=0;t={headers["Retry-After"]}'
    limiter.count_request(key("key_2", requests=3))  # another key is another's


def test_a_key_without_limits_is_counted_nowhere(redis_server: RedisServer) -> None:
    redis_server.stop()
    metrics = Metrics()
    limiter = Limiter(redis_server.url, metrics)
    assert limiter.count_request(key()) == []
    limiter.check_tokens(key())
    limiter.count_tokens(key(), 5)
    assert unshared(metrics) == 0


def test_answers_begin_while_tokens_are_left_and_the_last_may_end_beyond(limiter: Limiter) -> None:
    mine = key(tokens=10)
    for _ in range(2):
        limiter.check_tokens(mine)
        limiter.count_tokens(mine, 7)
    with pytest.raises(TokenQuotaReachedError) as caught:
        limiter.check_tokens(mine)
    assert 0 < int(caught.value.headers["Retry-After"]) <= 86_400
    assert caught.value.headers["RateLimit-Policy"] == '"tokens";q=10;w=86400'
    limiter.check_tokens(key("key_2", tokens=10))


def test_two_processes_count_together(redis_server: RedisServer) -> None:
    first, second = (Limiter(redis_server.url, Metrics()) for _ in range(2))
    first.count_request(key(requests=2))
    second.count_request(key(requests=2))
    for limiter in (first, second):
        with pytest.raises(LimitReachedError):
            limiter.count_request(key(requests=2))


def test_the_private_redis_of_one_machine_counts_too(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    server = PrivateRedis(tmp_path_factory.mktemp("r"), log=tmp_path / "redis.log", environment=os.environ)
    try:
        server.wait_until_ready()
        metrics = Metrics()
        for left in (1, 0):
            headers = Limiter(server.broker_url, metrics).count_request(key(requests=2))
            assert f";r={left};" in dict(headers)["RateLimit"]
        assert unshared(metrics) == 0
    finally:
        server.child.kill()


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[MutableMapping[str, Any]]:
    """What the limiter logs, without what threads of services that another test started say meanwhile."""
    capture = LogCapture()
    monkeypatch.setattr("app.access.limiter.log", structlog.wrap_logger(None, processors=[capture]))
    return capture.entries


def test_where_the_broker_is_no_redis_each_process_counts_for_itself(logged: list[MutableMapping[str, Any]]) -> None:
    alone = Limiter("127.0.0.1", Metrics())
    assert [line["event"] for line in logged] == ["limits_not_shared"]
    assert ";r=1;" in dict(alone.count_request(key(requests=2)))["RateLimit"]


def test_while_redis_is_away_a_process_counts_for_itself_says_so_and_waits_for_it_once(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, logged: list[MutableMapping[str, Any]]
) -> None:
    metrics = Metrics()
    limiter = Limiter(redis_server.url, metrics)
    limiter.count_request(key(requests=2))
    redis_server.stop()
    for _ in range(2):
        limiter.count_request(key(requests=2))
    with pytest.raises(LimitReachedError):
        limiter.count_request(key(requests=2))
    assert [line["event"] for line in logged] == ["limits_not_shared"]
    assert logged[0]["log_level"] == "warning"
    assert unshared(metrics) >= 3
    redis_server.start()
    later = time.monotonic() + 3600
    monkeypatch.setattr("app.access.limiter.time.monotonic", lambda: later)
    before = unshared(metrics)
    limiter.count_request(key(requests=2))  # the one counted in Redis before it stopped is still there
    with pytest.raises(LimitReachedError):
        limiter.count_request(key(requests=2))
    assert unshared(metrics) == before


def test_a_redis_that_hangs_is_waited_for_by_one_request_and_no_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        limiter = Limiter(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", Metrics())
        for _ in range(5):
            limiter.count_request(key(requests=9))
        silent.settimeout(0)
        tries = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                silent.accept()[0].close()
                tries += 1
    assert 1 <= tries <= 2  # once, and once more at once
