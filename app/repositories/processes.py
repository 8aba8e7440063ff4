"""API processes that run, each for as long as its lease lasts, on the database's clock."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from app.erasure_tables import Process
from app.repositories.clock import database_now


def register(session: Session, name: str, lease_seconds: float) -> Process:
    """A new process, known from this transaction's commit on."""
    process = Process(name=name, lease_until=database_now(session) + timedelta(seconds=lease_seconds))
    session.add(process)
    session.flush()
    return process


def renew(session: Session, process_id: str, lease_seconds: float) -> bool:
    """Make the lease longer. False: it ran out, and what the process holds in memory is not waited for any more."""
    moment = database_now(session)
    kept = session.exec(
        update(Process)
        .where(col(Process.id) == process_id, col(Process.lease_until) >= moment)
        .values(lease_until=moment + timedelta(seconds=lease_seconds)),
        execution_options={"synchronize_session": False},
    )
    return kept.rowcount == 1


def running(session: Session, moment: datetime) -> list[Process]:
    """Those whose lease has not run out."""
    return list(session.exec(select(Process).where(Process.lease_until >= moment).order_by(col(Process.id))))


def remove(session: Session, process_id: str) -> None:
    """The process ends."""
    session.exec(delete(Process).where(col(Process.id) == process_id))


def remove_silent(session: Session, moment: datetime) -> int:
    """Forget processes whose lease ran out, and say how many."""
    gone = session.exec(
        delete(Process).where(col(Process.lease_until) < moment), execution_options={"synchronize_session": False}
    )
    return gone.rowcount
