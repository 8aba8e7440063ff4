"""What an API process does beside its requests: writes when keys were used, and lets old audit entries go.

Must not know HTTP. Nothing waits for it, and whatever goes wrong is tried again later.
"""

from __future__ import annotations

import time
from datetime import timedelta

import anyio
import structlog
from anyio import to_thread

from app.access.key_use import KeyUse
from app.database import Database
from app.errors import DatabaseAwayError
from app.repositories import audit

EVERY_SECONDS = 5.0
"""Pause between two writings of what keys were used; they are kept to the minute."""
_FORGET_EVERY_SECONDS = 3600.0

log = structlog.get_logger(__name__)


async def keep_house(database: Database, key_use: KeyUse, audit_days: int) -> None:
    """Go on until cancelled."""
    forgotten_at = float("-inf")
    while True:
        await anyio.sleep(EVERY_SECONDS)
        forget = bool(audit_days) and time.monotonic() - forgotten_at >= _FORGET_EVERY_SECONDS
        if forget:
            forgotten_at = time.monotonic()
        # On SQLite it may wait for another writer; whoever stops the service does not.
        await to_thread.run_sync(_once, database, key_use, audit_days if forget else 0, abandon_on_cancel=True)


def _once(database: Database, key_use: KeyUse, audit_days: int) -> None:
    try:
        key_use.write(database)
        if audit_days:
            forget_old_entries(database, audit_days)
    except DatabaseAwayError:
        pass  # /readyz and every request say so
    except Exception as error:
        log.error("housekeeping_failed", error=type(error).__name__, exc_info=error)


def forget_old_entries(database: Database, audit_days: int) -> None:
    """Delete the audit log's entries that are older than so many days."""
    with database.write() as session:
        gone = audit.forget_older(session, timedelta(days=audit_days))
    if gone:
        log.info("audit_entries_forgotten", entries=gone)
