"""The one clock that all processes on a database share: leases and due times are set and judged by nothing else.

The clocks of two machines may differ by more than a lease lasts; a worker that went by its own would take the steps of
others, or hold its own for ever.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import func, text
from sqlalchemy.sql.functions import Function
from sqlmodel import Session

from app.tables import now


def at_writing(session: Session) -> datetime | Function[datetime]:
    """What to set a column to, so that its row has the moment at which the database writes it: no question before."""
    return now() if session.get_bind().dialect.name != "postgresql" else func.clock_timestamp()


def database_now(session: Session) -> datetime:
    """The present moment on PostgreSQL's clock; with SQLite, that of the machine all its processes run on.

    It goes on within a transaction, so read it after whatever may have waited for a lock.
    """
    if session.get_bind().dialect.name != "postgresql":
        return now()
    moment: datetime = session.connection().execute(text("SELECT clock_timestamp()")).scalar_one()
    return moment.astimezone(UTC)
