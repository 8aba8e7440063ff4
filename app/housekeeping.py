"""What an API process does beside its requests: writes when keys were used, lets old audit entries go, and drops what
was erased.

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
from app.repositories import audit
from app.state import Services

EVERY_SECONDS = 5.0
"""Pause between two rounds. When a key was used is kept to the minute; an erasure is confirmed within a round."""
_FORGET_EVERY_SECONDS = 3600.0

log = structlog.get_logger(__name__)


async def keep_house(services: Services) -> None:
    """Go on until cancelled."""
    audit_days, forgotten_at = services.settings.audit_days, float("-inf")
    while True:
        forget = bool(audit_days) and time.monotonic() - forgotten_at >= _FORGET_EVERY_SECONDS
        if forget:
            forgotten_at = time.monotonic()
        # On SQLite it may wait for another writer; whoever stops the service does not.
        await to_thread.run_sync(_once, services, audit_days if forget else 0, abandon_on_cancel=True)
        await anyio.sleep(EVERY_SECONDS)


def _once(services: Services, audit_days: int) -> None:
    try:
        services.forgetter.look()
        services.key_use.write(services.database)
        if audit_days:
            forget_old_entries(services.database, audit_days)
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
