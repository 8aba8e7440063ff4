"""Answers once given under an Idempotency-Key, so that a repeated request is answered alike and done once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import delete, text
from sqlmodel import Session, col, select

from app.errors import IdempotencyKeyReusedError
from app.tables import IdempotencyKey, now

KEPT_FOR = timedelta(hours=24)
"""How long a key is remembered; afterwards it may be used anew."""


def find(session: Session, tenant: str, key: str) -> IdempotencyKey | None:
    """The answer given under this key, if it is remembered.

    Requests with the same key take turns: the second waits here until the first has committed.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.connection().execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": f"{tenant}\n{key}"}
        )
    statement = select(IdempotencyKey).where(
        IdempotencyKey.tenant_id == tenant,
        IdempotencyKey.key == key,
        col(IdempotencyKey.created_at) > now() - KEPT_FOR,
    )
    return session.exec(statement).one_or_none()


def remember(
    session: Session, tenant: str, key: str, fingerprint: str, status_code: int, body: dict[str, Any]
) -> IdempotencyKey:
    """Keep an answer, in the transaction that did what it reports. The tenant's outlived keys go.

    Raises:
        IdempotencyKeyReusedError: the key is taken; call `find` first.
    """
    session.exec(
        delete(IdempotencyKey).where(
            col(IdempotencyKey.tenant_id) == tenant, col(IdempotencyKey.created_at) <= now() - KEPT_FOR
        ),
        execution_options={"synchronize_session": False},
    )
    if find(session, tenant, key) is not None:
        raise IdempotencyKeyReusedError(f"Idempotency-Key '{key}' was used before. Choose a new one for a new request.")
    row = IdempotencyKey(tenant_id=tenant, key=key, fingerprint=fingerprint, status_code=status_code, body=body)
    session.add(row)
    session.flush()
    return row
