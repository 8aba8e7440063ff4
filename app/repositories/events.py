"""Events of a job: what a client following it is told, in order."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col, select

from app.errors import JobNotFoundError
from app.tables import Event, Job


def first(job: Job) -> Event:
    """The event of a job made in this transaction: nobody else knows it yet, so there is nothing to hold."""
    return _event(job, "status", {"status": job.status.value})


def append(session: Session, job: Job, kind: str, data: dict[str, Any]) -> Event:
    """Add an event to the job's stream.

    Holds the job's row until the transaction ends, so that the events of one job are committed in the order of
    their ids: a reader that has seen id 7 can never miss a 6 that came later.

    Raises:
        JobNotFoundError: the job was deleted meanwhile.
    """
    held = select(Job.id).where(Job.tenant_id == job.tenant_id, Job.id == job.id).with_for_update(key_share=True)
    if session.exec(held).one_or_none() is None:
        raise JobNotFoundError(f"Job '{job.id}' was deleted.")
    event = _event(job, kind, data)
    session.add(event)
    session.flush()
    return event


def events_after(session: Session, tenant: str, job_id: str, after_id: int, limit: int) -> list[Event]:
    """At most `limit` events of the job with an id above `after_id` (0: from the start), oldest first."""
    statement = (
        select(Event)
        .where(Event.tenant_id == tenant, Event.job_id == job_id, col(Event.id) > after_id)
        .order_by(col(Event.id))
        .limit(limit)
    )
    return list(session.exec(statement))


def _event(job: Job, kind: str, data: dict[str, Any]) -> Event:
    return Event(tenant_id=job.tenant_id, job_id=job.id, kind=kind, data=data)
