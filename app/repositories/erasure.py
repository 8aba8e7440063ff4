"""Taking back what was learned: a user's history goes, and with it everything that was made of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from sqlalchemy import Text, cast, delete, update
from sqlmodel import Session, col, func, select

from app.repositories import deliveries, history
from app.repositories.jobs import cancel_job, unfinished_jobs
from app.repositories.users import delete_user, get_user, lock_user
from app.tables import AuditEntry, IdempotencyKey, Job, Trial, User, Version, now


@dataclass(frozen=True, slots=True)
class Removed:
    """What is gone from the database.

    Args:
        samples_digest: SHA-256 (hex) over the samples' own digests, sorted, a line each: who still has the history can
            tell that it was this one.
        jobs: rows that were deleted; those that were not over are in `jobs_cancelled`.
        versions: their ids.
        webhook_deliveries: what webhooks were told of the user's jobs, or were still to be told.
        remembered_answers: answers kept for a repeat of a request (Idempotency-Key) that named the user.
    """

    samples: int
    samples_digest: str
    jobs: int
    jobs_cancelled: int
    trials: int
    versions: list[str]
    remembered_answers: int
    webhook_deliveries: int


def erase_history(session: Session, tenant: str, user_id: str) -> Removed:
    """Delete the user's samples and versions and cancel their unfinished jobs. The user, the profile and the ended
    jobs with their scores stay. The stored stacks are the store's to erase.

    Raises:
        UserNotFoundError: there is no such user.
    """
    user, cancelled = _held(session, tenant, user_id)
    digests, versions = history.digests(session, tenant, user_id), _version_ids(session, tenant, user_id)
    history.delete_history(session, tenant, user_id)
    session.exec(
        delete(Version).where(col(Version.tenant_id) == tenant, col(Version.user_id) == user_id),
        execution_options={"synchronize_session": False},
    )
    user.active_version_id = None
    user.updated_at = now()
    session.flush()
    return Removed(
        samples=len(digests),
        samples_digest=_digest_of(digests),
        jobs=0,
        jobs_cancelled=cancelled,
        trials=0,
        versions=versions,
        remembered_answers=0,
        webhook_deliveries=0,
    )


def erase_user(session: Session, tenant: str, user_id: str, pseudonym: str) -> Removed:
    """Delete the user with everything of theirs. In the audit log `pseudonym` stands in the id's place.

    Raises:
        UserNotFoundError: there is no such user.
    """
    _, cancelled = _held(session, tenant, user_id)
    digests, versions = history.digests(session, tenant, user_id), _version_ids(session, tenant, user_id)
    of_user = select(Job.id).where(Job.tenant_id == tenant, Job.user_id == user_id)
    jobs = session.exec(select(func.count()).select_from(of_user.subquery())).one()
    trials = session.exec(select(func.count(col(Trial.id))).where(col(Trial.job_id).in_(of_user))).one()
    told = deliveries.of_user(session, tenant, user_id)
    delete_user(session, tenant, user_id)
    answers = _delete_remembered(session, tenant, user_id)
    _rename_in_audit_log(session, tenant, user_id, pseudonym)
    return Removed(
        samples=len(digests),
        samples_digest=_digest_of(digests),
        jobs=jobs,
        jobs_cancelled=cancelled,
        trials=trials,
        versions=versions,
        remembered_answers=answers,
        webhook_deliveries=told,
    )


def cancel_unfinished_jobs(session: Session, tenant: str, user_id: str) -> int:
    """Cancel every job of the user that has not ended, and say how many."""
    unfinished = unfinished_jobs(session, tenant, user_id)
    for job in unfinished:
        cancel_job(session, job)
    return len(unfinished)


def _held(session: Session, tenant: str, user_id: str) -> tuple[User, int]:
    """The user, held, and how many unfinished jobs were cancelled for it.

    Raises:
        UserNotFoundError: there is no such user.
    """
    get_user(session, tenant, user_id)
    # Jobs before their user, as a worker that publishes takes them: two that wait for each other would never end.
    cancelled = cancel_unfinished_jobs(session, tenant, user_id)
    user = lock_user(session, tenant, user_id)
    return user, cancelled + cancel_unfinished_jobs(session, tenant, user_id)


def _version_ids(session: Session, tenant: str, user_id: str) -> list[str]:
    statement = select(Version.id).where(Version.tenant_id == tenant, Version.user_id == user_id)
    return list(session.exec(statement.order_by(col(Version.row))))


def _digest_of(digests: list[str]) -> str:
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _delete_remembered(session: Session, tenant: str, user_id: str) -> int:
    """Answers kept for Idempotency-Keys name whom they were about; so do those to an import of several users."""
    quoted = json.dumps(user_id)
    text = cast(IdempotencyKey.body, Text)
    found = session.exec(
        select(IdempotencyKey.key, text).where(
            IdempotencyKey.tenant_id == tenant, text.contains(quoted, autoescape=True)
        )
    )
    # LIKE takes upper and lower case for the same on SQLite; other users' answers stay.
    keys = [key for key, body in found if quoted in body]
    session.exec(
        delete(IdempotencyKey).where(col(IdempotencyKey.tenant_id) == tenant, col(IdempotencyKey.key).in_(keys)),
        execution_options={"synchronize_session": False},
    )
    return len(keys)


def _rename_in_audit_log(session: Session, tenant: str, user_id: str, pseudonym: str) -> None:
    target, length = col(AuditEntry.target), len(user_id)
    beneath = func.substr(target, 1, length + 1) == f"{user_id}/"
    session.exec(
        update(AuditEntry)
        .where(col(AuditEntry.tenant_id) == tenant, (target == user_id) | beneath)
        .values(target=pseudonym + func.substr(target, length + 1)),
        execution_options={"synchronize_session": False},
    )
