"""Looks whether everything the service stands on is there. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Callable

from adapters_store.errors import StoreError
from app import broker, presence
from app.errors import BrokerAwayError, ServiceError
from app.schemas.health import Part
from app.state import Services


def look(services: Services) -> dict[str, Part]:
    """Each part, as it is now."""
    broker_url = services.settings.broker_url
    return {
        "database": _checked(services.database.ping),
        "broker": (
            _checked(lambda: _ping_broker(broker_url))
            if broker_url
            # Imports and answers work without; only jobs wait.
            else Part(ok=False, needed=False, detail="No broker is set (MILP_BROKER_URL): jobs wait until one is.")
        ),
        "workers": _workers(services),
        "store": _checked(services.store.ping),
        "base_model": _checked(services.runtime.get),
    }


def _checked(check: Callable[[], object]) -> Part:
    try:
        check()
    except ServiceError as error:
        return Part(ok=False, needed=True, detail=error.detail)
    except StoreError as error:
        text = str(error)
        return Part(ok=False, needed=True, detail=text[:1].upper() + text[1:])
    return Part(ok=True, needed=True)


def workers_alive(services: Services) -> int | None:
    """How many there are; None while the broker, which knows, is away or none is set."""
    broker_url = services.settings.broker_url
    try:
        return presence.alive(broker_url) if broker_url else None
    except BrokerAwayError:
        return None


def _workers(services: Services) -> Part:
    """Without any, histories are taken in and queries answered: the service is ready, and its jobs wait."""
    alive = workers_alive(services)
    if alive:
        return Part(ok=True, needed=False)
    if alive is None:
        return Part(ok=False, needed=False, detail="Whether any runs is not known without the broker.")
    return Part(
        ok=False,
        needed=False,
        detail="No worker runs, so jobs wait. Start one: celery -A workers.celery_app worker "
        "(`milp up` and docker compose start one by themselves), with the same MILP_BROKER_URL.",
    )


def _ping_broker(url: str) -> None:
    try:
        broker.ping(url)
    except BrokerAwayError as error:
        raise BrokerAwayError(f"{error.detail} Histories are still taken; their jobs begin when it is back.") from error
