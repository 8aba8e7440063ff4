"""What is noted of every write: who did what to which thing, and how it went. Knows ids, never a text.

The entry of a write that was done is in that write's own transaction: the one is never there without the other. What
a refused write changed is undone, so its entry has a transaction of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import structlog
from sqlmodel import Session

from app.database import Database
from app.errors import DatabaseAwayError, ServiceError
from app.repositories import audit

OPERATOR = "operator"
"""In place of a key's id: someone at a machine with the database, through `milp keys` or `milp up`."""
DONE = "done"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Deed:
    """A write somebody asked for.

    Args:
        key_id: the key that asked, or OPERATOR.
        action: method and route, or command.
        target: the ids it is done to, outermost first, with slashes between.
    """

    tenant: str
    key_id: str
    action: str
    target: str = ""
    request_id: str = ""

    def on(self, target: str) -> Deed:
        """The same, done to something that has an id only now."""
        return replace(self, target=target)


@contextmanager
def noted(database: Database, deed: Deed) -> Iterator[Session]:
    """One transaction that changes something, and is to call `done` if it did; a refusal is noted here.

    Raises:
        DatabaseAwayError: see `Database.write`. Whatever the block raises.
    """
    try:
        with database.write() as session:
            yield session
    except Exception as error:
        refused(database, deed, error.code if isinstance(error, ServiceError) else "failed")
        raise


def done(session: Session, deed: Deed) -> None:
    """Note that it was done, in the transaction that does it."""
    _append(session, deed, DONE)


def not_done(session: Session, deed: Deed, code: str) -> None:
    """Note that a part of a write was not, and why, in the transaction of the others."""
    _append(session, deed, code)


def refused(database: Database, deed: Deed, code: str) -> None:
    """Note that it was not, and why. Where the database is away, the log has it."""
    try:
        with database.write() as session:
            _append(session, deed, code)
    except DatabaseAwayError:
        log.warning("refusal_not_noted", action=deed.action, key_id=deed.key_id, code=code)


def _append(session: Session, deed: Deed, outcome: str) -> None:
    audit.append(
        session,
        deed.tenant,
        key_id=deed.key_id,
        action=deed.action,
        target=deed.target,
        outcome=outcome,
        request_id=deed.request_id,
    )
