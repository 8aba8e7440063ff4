"""Brings the database's tables to this version of the service: at its start, or as soon as the database is there.

Must not know HTTP or any table.
"""

from __future__ import annotations

import anyio
import structlog
from anyio import to_thread

from app.database import Database
from app.errors import DatabaseAwayError

AGAIN_SECONDS = 1.0
"""Pause between two tries while the database is away."""

log = structlog.get_logger(__name__)


def upgrade_now(database: Database) -> bool:
    """Upgrade the tables; False where the database is away.

    The process serves all the same: /readyz says what is wrong, and every route answers with the problem.
    """
    try:
        database.upgrade()
    except DatabaseAwayError as error:
        log.error("database_unavailable", detail=error.detail)
        return False
    return True


async def upgrade_when_there(database: Database) -> None:
    """Try until it is done: a database that was away may come back empty. Ends when it is cancelled, too."""
    while True:
        await anyio.sleep(AGAIN_SECONDS)
        try:
            # A try may wait for a connection or a lock; whoever stops the service does not.
            await to_thread.run_sync(database.upgrade, abandon_on_cancel=True)
        except DatabaseAwayError:
            continue
        except Exception as error:  # the service goes on: /readyz tells that there are no tables, the log why
            log.error("database_not_upgraded", error=type(error).__name__, exc_info=error)
            return
        log.info("database_upgraded")
        return
