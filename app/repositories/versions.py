"""Versions: a user's published stacks, and which of them answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from app.errors import VersionNotFoundError
from app.repositories.paging import Page, page
from app.repositories.users import lock_user
from app.tables import Job, User, Version, now


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


def with_jobs(session: Session, tenant: str, user_id: str) -> list[tuple[Version, Job | None]]:
    """The user's versions, oldest first, each with the job that made it."""
    statement = (
        select(Version, Job)
        .join(Job, col(Job.id) == Version.job_id, isouter=True)
        .where(Version.tenant_id == tenant, Version.user_id == user_id)
        .order_by(col(Version.row))
    )
    return [(version, job) for version, job in session.exec(statement)]


def mark_deleted_sample(session: Session, tenant: str, user_id: str, version_ids: Sequence[str], digest: str) -> None:
    """Note in these versions that a sample they have learned is gone."""
    for version_id in version_ids:
        version = get_version(session, tenant, user_id, version_id)
        # A new list: the change of one in place would not be seen.
        version.deleted_samples = sorted({*(version.deleted_samples or ()), digest})
        session.add(version)
    session.flush()


def all_paths(session: Session) -> list[str]:
    """Folders in the store of all versions of all tenants, each once."""
    return list(session.exec(select(Version.path).distinct().order_by(Version.path)))


def paths_in(session: Session, tenant: str, folder: str) -> set[str]:
    """Paths of the versions that lie in this folder of the store."""
    statement = select(Version.path).where(Version.tenant_id == tenant, col(Version.path).startswith(f"{folder}/"))
    return set(session.exec(statement))


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
