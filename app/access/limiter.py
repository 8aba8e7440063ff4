"""Counts what each key uses, in Redis, where all API processes share it: requests a minute, generated tokens a day.

While Redis is away, or where there is none, each process counts for itself: nobody is kept from an answer because a
counter cannot be reached, and one process alone still keeps the limit. A key without limits costs no look at Redis.
Unfinished jobs are counted in the database (`app.intake`). Knows no HTTP server.

Windows are fixed: one number a key and window, and a time at which it begins anew that can be told exactly. What that
costs: around the moment of beginning anew, twice the limit may pass in one window's length.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter
from redis import ConnectionPool, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from app import broker
from app.access.identity import Identity
from app.errors import LimitReachedError, TokenQuotaReachedError
from app.metrics import Metrics

REDIS_SECONDS = 0.25
"""How long a request may wait for a counter."""
AGAIN_SECONDS = 5.0
"""How long a Redis that did not answer is left alone: until then no request waits for it."""
_CONNECTIONS = 1000
"""More than there are threads that ask at once."""
_REQUESTS, _TOKENS = "requests", "tokens"

T = TypeVar("T")
Headers = list[tuple[str, str]]
log = structlog.get_logger(__name__)


class Limiter:
    """The counters of all keys. Threads may share it.

    Args:
        broker_url: Redis as Celery names it; empty: this process counts for itself.
    """

    def __init__(self, broker_url: str, metrics: Metrics) -> None:
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._shared = _shared(broker_url) if broker_url else None
        self._metrics = metrics
        self._away_until = 0.0

    def count_request(self, identity: Identity) -> Headers:
        """Count one request, and say what is left: headers for the answer.

        Raises:
            LimitReachedError: that was one too many.
        """
        most = identity.limits.requests_per_minute
        if not most:
            return []
        item = RateLimitItemPerMinute(most)
        within = self._asked(lambda limiter: limiter.hit(item, _REQUESTS, identity.key_id))
        left, again = self._left(item, _REQUESTS, identity)
        headers = _headers(_REQUESTS, item, left, again)
        if not within:
            raise LimitReachedError(
                f"This API key may ask {most} times a minute. Ask again in {again} s.",
                headers={**dict(headers), "Retry-After": str(again)},
            )
        return headers

    def check_tokens(self, identity: Identity) -> None:
        """Return if an answer may begin. How long it will be nobody knows: the last one may end beyond the limit.

        Raises:
            TokenQuotaReachedError: the day's tokens are used.
        """
        most = identity.limits.tokens_per_day
        if not most:
            return
        item = RateLimitItemPerDay(most)
        left, again = self._left(item, _TOKENS, identity)
        if left < 1:
            raise TokenQuotaReachedError(
                f"This API key may have {most} tokens generated a day, and has. Ask again in {again} s.",
                headers={**dict(_headers(_TOKENS, item, left, again)), "Retry-After": str(again)},
            )

    def count_tokens(self, identity: Identity, tokens: int) -> None:
        """Count what was generated. The day begins with the first token of it."""
        most = identity.limits.tokens_per_day
        if most and tokens:
            self._asked(lambda limiter: limiter.hit(RateLimitItemPerDay(most), _TOKENS, identity.key_id, cost=tokens))

    def _left(self, item: RateLimitItem, what: str, identity: Identity) -> tuple[int, int]:
        """How many are left, and the seconds until it begins anew."""
        stats = self._asked(lambda limiter: limiter.get_window_stats(item, what, identity.key_id))
        return stats.remaining, max(1, math.ceil(stats.reset_time - time.time()))

    def _asked(self, ask: Callable[[FixedWindowRateLimiter], T]) -> T:
        """What the shared counters say, or this process's own where they cannot be reached."""
        if self._shared is None:
            return ask(self._own)
        if time.monotonic() >= self._away_until:
            try:
                return ask(self._shared)
            except (RedisError, OSError) as error:
                self._away_until = time.monotonic() + AGAIN_SECONDS
                log.warning("limits_not_shared", error=type(error).__name__, seconds=AGAIN_SECONDS)
        self._metrics.count_unshared_limit()
        return ask(self._own)


def _shared(broker_url: str) -> FixedWindowRateLimiter | None:
    """Counters in the broker's Redis; None where that is no URL of one, which /readyz tells."""
    try:
        pool = ConnectionPool.from_url(
            broker.client_url(broker_url),
            socket_connect_timeout=REDIS_SECONDS,
            socket_timeout=REDIS_SECONDS,
            max_connections=_CONNECTIONS,
            # Once more at once, for a connection that Redis closed since; the client's own way waits between tries.
            retry=Retry(NoBackoff(), 1),
        )
    except ValueError:
        log.warning("limits_not_shared", error="MILP_BROKER_URL names no Redis")
        return None
    return FixedWindowRateLimiter(RedisStorage("redis://", connection_pool=pool, key_prefix="milp-limits"))


def _headers(what: str, item: RateLimitItem, left: int, again: int) -> Headers:
    """As in draft-ietf-httpapi-ratelimit-headers-10."""
    return [
        ("RateLimit-Policy", f'"{what}";q={item.amount};w={item.get_expiry()}'),
        ("RateLimit", f'"{what}";r={left};t={again}'),
    ]
