"""Taking back what was learned: a user's history goes, and with it everything that was made of it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete
from sqlmodel import Session, col, select

from app.job_states import FINAL
from app.repositories import history
from app.repositories.jobs import cancel_job
from app.repositories.users import get_user, lock_user
from app.tables import Job, Version, now


@dataclass(frozen=True, slots=True)
class Erased:
    """What is gone: samples, versions, and jobs that were cancelled."""

    samples: int
    versions: int
    jobs: int


def erase_history(session: Session, tenant: str, user_id: str) -> Erased:
    """Delete the user's samples and versions and cancel their unfinished jobs. The user, the profile and the ended
    jobs with their scores stay. The stored stacks are the store's to erase.

    Raises:
        UserNotFoundError: there is no such user.
    """
    get_user(session, tenant, user_id)
    # Jobs before their user, as a worker that publishes takes them: two that wait for each other would never end.
    cancelled = cancel_unfinished_jobs(session, tenant, user_id)
    user = lock_user(session, tenant, user_id)
    cancelled += cancel_unfinished_jobs(session, tenant, user_id)
    samples = history.delete_history(session, tenant, user_id)
    versions = session.exec(
        delete(Version).where(col(Version.tenant_id) == tenant, col(Version.user_id) == user_id),
        execution_options={"synchronize_session": False},
    ).rowcount
    user.active_version_id = None
    user.updated_at = now()
    session.flush()
    return Erased(samples, versions, cancelled)


def cancel_unfinished_jobs(session: Session, tenant: str, user_id: str) -> int:
    """Cancel every job of the user that has not ended, and say how many."""
    statement = select(Job).where(Job.tenant_id == tenant, Job.user_id == user_id, col(Job.status).not_in(list(FINAL)))
    jobs = list(session.exec(statement.order_by(col(Job.id))))
    for job in jobs:
        cancel_job(session, job)
    return len(jobs)
