"""Marks of workers in Redis: they count while they are fresh, and no longer."""

from __future__ import annotations

import pytest
from redis import Redis

from app import presence
from app.errors import BrokerAwayError
from tests.support.servers import RedisServer


def test_a_worker_counts_from_its_mark_until_it_takes_it_away(redis_server: RedisServer) -> None:
    assert presence.alive(redis_server.url) == 0
    for name in ("celery@a", "celery@b", "celery@a"):
        presence.mark(redis_server.url, name)
    assert presence.alive(redis_server.url) == 2
    presence.unmark(redis_server.url, "celery@a")
    assert presence.alive(redis_server.url) == 1


def test_the_mark_of_a_worker_that_died_fades_and_goes_with_the_next_ones(redis_server: RedisServer) -> None:
    with Redis.from_url(redis_server.url) as client:
        client.zadd("milp:workers", {"celery@dead": int(client.time()[0]) - 1})
        assert presence.alive(redis_server.url) == 0
        presence.mark(redis_server.url, "celery@a")
        assert client.zrange("milp:workers", 0, -1) == [b"celery@a"]


def test_a_redis_that_is_away_is_said_to_be(redis_server: RedisServer) -> None:
    redis_server.stop()
    for ask in (presence.alive, lambda url: presence.mark(url, "w"), lambda url: presence.unmark(url, "w")):
        with pytest.raises(BrokerAwayError):
            ask(redis_server.url)
