"""The broker's Redis at hand: whether it answers, and a client for what is kept in it beside the messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis, RedisError

from app.errors import BrokerAwayError

_SECONDS = 2.0
"""Long enough for any Redis that is well."""


def client_url(url: str) -> str:
    """Celery's URL of a Redis as the Redis client takes it: they name a Unix socket differently."""
    return url.replace("redis+socket://", "unix://", 1)


def ping(url: str) -> None:
    """Return if a Redis answers at Celery's URL of it. Raises: BrokerAwayError."""
    with connected(url) as client:
        client.ping()


@contextmanager
def connected(url: str) -> Iterator[Any]:
    """A client of the Redis at Celery's URL of it.

    Raises:
        BrokerAwayError: none answers, or that is no such URL.
    """
    try:
        with Redis.from_url(client_url(url), socket_connect_timeout=_SECONDS, socket_timeout=_SECONDS) as client:
            yield client
    except (RedisError, OSError, ValueError) as error:
        raise BrokerAwayError(
            f"The broker cannot be reached ({type(error).__name__}). Start Redis, or correct MILP_BROKER_URL."
        ) from error
