"""API keys and the tenants they are of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import func, or_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from app.errors import KeyNotFoundError
from app.repositories.paging import Page, page
from app.tables import ApiKey, Tenant, now


def ensure_tenant(session: Session, tenant: str) -> bool:
    """Make the tenant where there is none; whether it was made."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    made = session.exec(insert(Tenant).values(tenant_id=tenant, created_at=now()).on_conflict_do_nothing())
    return made.rowcount == 1


def tenants(session: Session) -> list[str]:
    """All of them, by name: for the operator, who is above them."""
    return list(session.exec(select(Tenant.tenant_id).order_by(col(Tenant.tenant_id))))


def find_key(session: Session, key_id: str) -> tuple[ApiKey, datetime] | None:
    """The key of this id, whoever's it is, and the present moment: the one look-up that comes before a tenant is known.

    In one query on PostgreSQL, for every request makes it.
    """
    if session.get_bind().dialect.name == "postgresql":
        found = session.exec(select(ApiKey, func.clock_timestamp()).where(ApiKey.id == key_id)).one_or_none()
        return None if found is None else (found[0], found[1].astimezone(UTC))
    key = session.get(ApiKey, key_id)
    return None if key is None else (key, now())


def get_key(session: Session, tenant: str, key_id: str) -> ApiKey:
    """The tenant's key, held until the transaction ends. Raises: KeyNotFoundError."""
    statement = select(ApiKey).where(ApiKey.tenant_id == tenant, ApiKey.id == key_id).with_for_update()
    key = session.exec(statement, execution_options={"populate_existing": True}).one_or_none()
    if key is None:
        raise KeyNotFoundError(f"There is no API key '{key_id}'. GET /v1/keys or `milp keys list` names them.")
    return key


def page_keys(session: Session, tenant: str, cursor: str | None, limit: int) -> Page[ApiKey]:
    """The tenant's keys, newest first, revoked ones too. Raises: InvalidCursorError."""
    return page(
        session,
        select(ApiKey).where(ApiKey.tenant_id == tenant),
        [ApiKey.created_at, ApiKey.id],
        lambda key: [key.created_at, key.id],
        [datetime, str],
        cursor=cursor,
        limit=limit,
        newest_first=True,
    )


def mark_used(session: Session, key_id: str, moment: datetime, every: timedelta) -> None:
    """Note when the key was used, unless that was noted less than `every` before, by whichever process."""
    session.exec(
        update(ApiKey)
        .where(
            col(ApiKey.id) == key_id,
            or_(col(ApiKey.last_used_at).is_(None), col(ApiKey.last_used_at) <= moment - every),
        )
        .values(last_used_at=moment),
        execution_options={"synchronize_session": False},
    )
