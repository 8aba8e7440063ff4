"""Users: the rows that own histories, jobs and versions."""

from __future__ import annotations

from sqlalchemy import delete, event, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import SessionTransaction
from sqlmodel import Session, col, select

from app.errors import UserNotFoundError
from app.repositories.clock import at_writing
from app.repositories.erasures import refuse_if_erasing
from app.repositories.paging import Page, page
from app.repositories.text import check_text
from app.tables import Job, SampleRow, User, Version, now
from app.webhook_tables import WebhookDelivery

_HELD = "users held"
"""Where a session, which is one transaction, keeps whose rows it holds."""


def ensure_user(session: Session, tenant: str, user_id: str, profile: str | None) -> User:
    """The user, made where there is none, as changed now; a profile that is not None replaces the one there.

    Holds the user's row until the transaction ends: others who want to write for this user wait.

    Raises:
        InvalidEncodingError: the profile cannot be kept as text.
        UserBeingErasedError: one of that id is being erased.
        UserNotFoundError: they were deleted in the moment between being made and being held.
    """
    check_text("The profile", profile or "")
    user = _changed(session, tenant, user_id)
    if user is None:
        _insert(session, tenant, user_id)
        # Where somebody else made them at the same time, it is a change all the same.
        user = _changed(session, tenant, user_id)
    if user is None:
        raise unknown_user(user_id)
    refuse_if_erasing(session, tenant, user_id)
    if profile is not None and profile != user.profile:
        user.profile = profile
        session.flush()
    return user


def get_user(session: Session, tenant: str, user_id: str) -> User:
    """Raises: UserNotFoundError."""
    user = session.get(User, (tenant, user_id))
    if user is None:
        raise unknown_user(user_id)
    return user


def lock_user(session: Session, tenant: str, user_id: str) -> User:
    """The user as it is now, held until the transaction ends.

    Raises:
        UserNotFoundError: there is none.
    """
    user = _locked(session, tenant, user_id)
    if user is None:
        raise unknown_user(user_id)
    return user


def page_users(session: Session, tenant: str, cursor: str | None, limit: int) -> Page[User]:
    """The tenant's users by id. Raises: InvalidCursorError."""
    return page(
        session,
        select(User).where(User.tenant_id == tenant),
        [User.user_id],
        lambda user: [user.user_id],
        [str],
        cursor=cursor,
        limit=limit,
    )


def delete_user(session: Session, tenant: str, user_id: str) -> None:
    """Erase the user and everything of theirs: samples, jobs with steps, trials and events, versions, and what
    webhooks were told or are still to be told of them.

    The stored stacks are the store's to erase.

    Raises:
        UserNotFoundError: there is none.
    """
    _delete_jobs(session, tenant, user_id)
    user = lock_user(session, tenant, user_id)
    # Once more: a job made between the two statements above.
    _delete_jobs(session, tenant, user_id)
    for table in (Version, SampleRow, WebhookDelivery):
        session.exec(
            delete(table).where(col(table.tenant_id) == tenant, col(table.user_id) == user_id),
            execution_options={"synchronize_session": False},
        )
    session.delete(user)
    session.flush()
    session.expunge_all()


@event.listens_for(Session, "after_soft_rollback")
def _held_no_longer(session: Session, _: SessionTransaction) -> None:
    """Also of a savepoint, which gives back what was taken hold of after it."""
    session.info.pop(_HELD, None)


def _locked(session: Session, tenant: str, user_id: str) -> User | None:
    """Asks the database once a transaction: while the row is held, nobody else changes it."""
    session.flush()
    key = (tenant, user_id)
    if key in session.info.get(_HELD, ()):
        return session.get(User, key)
    user = session.get(User, key, populate_existing=True, with_for_update={"key_share": True})
    return _noted(session, user)


def _changed(session: Session, tenant: str, user_id: str) -> User | None:
    """As `_locked`, and changed now, in one statement."""
    session.flush()
    user: User | None = session.execute(
        update(User)
        .where(col(User.tenant_id) == tenant, col(User.user_id) == user_id)
        .values(updated_at=at_writing(session))
        .returning(User),
        execution_options={"populate_existing": True, "synchronize_session": False},
    ).scalar_one_or_none()
    return _noted(session, user)


def _noted(session: Session, user: User | None) -> User | None:
    """Keep the user with the session, which by itself forgets what nobody else refers to, and would ask again."""
    if user is not None:
        session.info.setdefault(_HELD, {})[user.tenant_id, user.user_id] = user
    return user


def _insert(session: Session, tenant: str, user_id: str) -> None:
    """Add the user, unless somebody else does at the same time."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    moment = now()
    session.exec(
        insert(User)
        .values(tenant_id=tenant, user_id=user_id, profile="", created_at=moment, updated_at=moment)
        .on_conflict_do_nothing()
    )


def _delete_jobs(session: Session, tenant: str, user_id: str) -> None:
    """Steps, trials and events go with their job (ON DELETE CASCADE)."""
    session.exec(
        delete(Job).where(col(Job.tenant_id) == tenant, col(Job.user_id) == user_id),
        execution_options={"synchronize_session": False},
    )


def unknown_user(user_id: str) -> UserNotFoundError:
    """There is none of that id."""
    return UserNotFoundError(
        f"There is no user '{user_id}'. Send their history first: POST /v1/users/{user_id}/history."
    )
