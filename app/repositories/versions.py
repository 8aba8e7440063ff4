"""Versions: a user's published stacks, and which of them answers."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, select

from app.errors import VersionNotFoundError
from app.repositories.paging import Page, page
from app.repositories.users import lock_user
from app.tables import User, Version, now


def add_version(session: Session, version: Version) -> Version:
    """Keep a published version. Publishing the same content again gives the version that is there already.

    Raises:
        UserNotFoundError: the user was deleted meanwhile.
    """
    lock_user(session, version.tenant_id, version.user_id)
    known = _find(session, version.tenant_id, version.user_id, version.id)
    if known is not None:
        return known
    session.add(version)
    session.flush()
    return version


def page_versions(session: Session, tenant: str, user_id: str, cursor: str | None, limit: int) -> Page[Version]:
    """The user's versions, newest first. Raises: InvalidCursorError."""
    return page(
        session,
        select(Version).where(Version.tenant_id == tenant, Version.user_id == user_id),
        [Version.created_at, Version.row],
        lambda version: [version.created_at, version.row or 0],
        [datetime, int],
        cursor=cursor,
        limit=limit,
        newest_first=True,
    )


def get_version(session: Session, tenant: str, user_id: str, version_id: str) -> Version:
    """Raises: VersionNotFoundError."""
    version = _find(session, tenant, user_id, version_id)
    if version is None:
        raise VersionNotFoundError(
            f"User '{user_id}' has no version '{version_id}'. GET /v1/users/{user_id}/versions lists them."
        )
    return version


def all_paths(session: Session) -> list[str]:
    """Folders in the store of all versions of all tenants, each once."""
    return list(session.exec(select(Version.path).distinct().order_by(Version.path)))


def active_version(session: Session, tenant: str, user_id: str) -> Version | None:
    """The version that answers for this user; None where there is none, or no such user."""
    statement = (
        select(Version)
        .join(
            User,
            (User.tenant_id == Version.tenant_id)  # type: ignore[arg-type]
            & (User.user_id == Version.user_id)
            & (User.active_version_id == Version.id),
        )
        .where(Version.tenant_id == tenant, Version.user_id == user_id)
    )
    return session.exec(statement).one_or_none()


def activate(session: Session, user: User, version_id: str | None) -> None:
    """Point the user at one of their versions, or at none.

    Raises:
        UserNotFoundError: the user was deleted meanwhile.
        VersionNotFoundError: it is not one of theirs.
    """
    held = lock_user(session, user.tenant_id, user.user_id)
    if version_id is not None:
        get_version(session, user.tenant_id, user.user_id, version_id)
    held.active_version_id = version_id
    held.updated_at = now()
    session.flush()


def _find(session: Session, tenant: str, user_id: str, version_id: str) -> Version | None:
    statement = select(Version).where(Version.tenant_id == tenant, Version.user_id == user_id, Version.id == version_id)
    return session.exec(statement).one_or_none()
