"""What an API process does beside its requests: writes when keys were used, drops what was erased, and lets go what is
old of the audit log and of webhooks' deliveries. It sends no webhook: that is `app.webhooks.sender`'s.

Must not know HTTP. Nothing waits for it, and whatever goes wrong is tried again later.
"""

from __future__ import annotations

import time
from datetime import timedelta

import anyio
import structlog
from anyio import to_thread

from adapters_store.errors import StoreError
from app.database import Database
from app.errors import DatabaseAwayError
from app.repositories import audit, deliveries
from app.state import Services

EVERY_SECONDS = 5.0
"""Pause between two rounds. When a key was used is kept to the minute; an erasure is confirmed within a round."""
_FORGET_EVERY_SECONDS = 3600.0
DELIVERIES_KEPT = timedelta(days=30)
"""How long a delivery that has ended can be looked at and asked for again."""

log = structlog.get_logger(__name__)


async def keep_house(services: Services) -> None:
    """Go on until cancelled."""
    forgotten_at = float("-inf")
    while True:
        forget = time.monotonic() - forgotten_at >= _FORGET_EVERY_SECONDS
        if forget:
            forgotten_at = time.monotonic()
        # Never abandoned: a connection that is returned after the database was closed stays open.
        await to_thread.run_sync(_once, services, forget)
        await anyio.sleep(EVERY_SECONDS)


def _once(services: Services, forget: bool) -> None:
    try:
        services.forgetter.look()
        services.key_use.write(services.database)
        if forget and services.settings.audit_days:
            forget_old_entries(services.database, services.settings.audit_days)
        if forget:
            forget_old_deliveries(services.database)
    except DatabaseAwayError:
        pass  # /readyz and every request say so
    except StoreError as error:
        log.warning("housekeeping_waits", reason=str(error))
    except Exception as error:
        log.error("housekeeping_failed", error=type(error).__name__, exc_info=error)


def forget_old_entries(database: Database, audit_days: int) -> None:
    """Delete the audit log's entries that are older than so many days."""
    with database.write() as session:
        gone = audit.forget_older(session, timedelta(days=audit_days))
    if gone:
        log.info("audit_entries_forgotten", entries=gone)


def forget_old_deliveries(database: Database) -> None:
    """Delete webhooks' deliveries that ended longer ago than they are kept."""
    with database.write() as session:
        gone = deliveries.forget_older(session, DELIVERIES_KEPT)
    if gone:
        log.info("deliveries_forgotten", deliveries=gone)
