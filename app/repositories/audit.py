"""The audit log: an entry is written in the transaction of what it tells of, and never changed."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, insert
from sqlmodel import Session, col, select

from app.repositories.clock import at_writing, database_now
from app.repositories.paging import Page, page
from app.tables import AuditEntry


def append(
    session: Session, tenant: str, *, key_id: str, action: str, target: str, outcome: str, request_id: str
) -> None:
    """Write an entry, dated by the database's clock."""
    session.flush()
    # Not as an object: nobody looks at it here, and every write waits for it.
    session.connection().execute(
        insert(AuditEntry).values(
            tenant_id=tenant,
            key_id=key_id,
            action=action,
            target=target,
            outcome=outcome,
            request_id=request_id,
            at=at_writing(session),
        )
    )


def page_entries(session: Session, tenant: str, cursor: str | None, limit: int) -> Page[AuditEntry]:
    """The tenant's entries, newest first. Raises: InvalidCursorError."""
    return page(
        session,
        select(AuditEntry).where(AuditEntry.tenant_id == tenant),
        [AuditEntry.id],
        lambda entry: [entry.id or 0],
        [int],
        cursor=cursor,
        limit=limit,
        newest_first=True,
    )


def forget_older(session: Session, age: timedelta) -> int:
    """Delete entries of all tenants that are older, and say how many."""
    result = session.exec(
        delete(AuditEntry).where(col(AuditEntry.at) < database_now(session) - age),
        execution_options={"synchronize_session": False},
    )
    return result.rowcount
