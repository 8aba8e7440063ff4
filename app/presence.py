"""Which workers are alive: each leaves a mark in the broker's Redis again and again, and a mark fades by itself.

Marks go by Redis' clock alone, for those of the machines may differ. Must not know what workers do.
"""

from __future__ import annotations

from typing import Any

from app import broker

EVERY_SECONDS = 5.0
"""Pause between two marks of one worker."""
FADES_SECONDS = 20
"""How long a worker that has died still counts; three marks may be lost before one that lives does not."""
_KEY = "milp:workers"


def mark(url: str, name: str) -> None:
    """Say that this worker lives. Raises: BrokerAwayError."""
    with broker.connected(url) as client:
        now = _now(client)
        with client.pipeline(transaction=True) as together:
            together.zadd(_KEY, {name: now + FADES_SECONDS})
            together.zremrangebyscore(_KEY, "-inf", now)
            together.execute()


def unmark(url: str, name: str) -> None:
    """Say that this worker is about to end. Raises: BrokerAwayError."""
    with broker.connected(url) as client:
        client.zrem(_KEY, name)


def alive(url: str) -> int:
    """How many workers live. Raises: BrokerAwayError."""
    with broker.connected(url) as client:
        return int(client.zcount(_KEY, _now(client), "+inf"))


def _now(client: Any) -> int:
    """Whole seconds since the epoch."""
    return int(client.time()[0])
