"""Trials: what a job has tried and is about to try."""

from __future__ import annotations

from sqlmodel import Session, col, select

from app.tables import Trial


def trials_of(session: Session, tenant: str, job_id: str) -> list[Trial]:
    """The job's trials by number; number 0 is the base."""
    statement = select(Trial).where(Trial.tenant_id == tenant, Trial.job_id == job_id).order_by(col(Trial.number))
    return list(session.exec(statement))
