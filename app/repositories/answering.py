"""What an answer needs to know of its user, in one question to the database: it is asked for every query.

The question is built once, and rows come as they are: as objects of the two tables they would take several times as
long.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, select
from sqlmodel import Session, col

from app.repositories.users import unknown_user
from app.tables import User, Version


@dataclass(frozen=True, slots=True)
class ActiveVersion:
    """The version that answers for a user, as far as answering looks at it."""

    id: str
    path: str
    with_memory: bool
    deleted_samples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """A user, as far as answering looks at them."""

    tenant: str
    user_id: str
    profile: str
    active: ActiveVersion | None


_KNOWN = (
    select(
        col(User.profile),
        col(Version.id),
        col(Version.path),
        col(Version.with_memory),
        col(Version.deleted_samples),
    )
    .join_from(
        User,
        Version,
        (col(Version.tenant_id) == col(User.tenant_id))
        & (col(Version.user_id) == col(User.user_id))
        & (col(Version.id) == col(User.active_version_id)),
        isouter=True,
    )
    .where(col(User.tenant_id) == bindparam("tenant"), col(User.user_id) == bindparam("user"))
)


def known(session: Session, tenant: str, user_id: str) -> Known:
    """Raises: UserNotFoundError."""
    row = session.connection().execute(_KNOWN, {"tenant": tenant, "user": user_id}).one_or_none()
    if row is None:
        raise unknown_user(user_id)
    profile, version_id, path, with_memory, deleted_samples = row
    active = None
    if version_id is not None:
        active = ActiveVersion(version_id, path, with_memory, tuple(deleted_samples or ()))
    return Known(tenant, user_id, profile, active)
