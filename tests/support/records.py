"""Makers of small records for tests of the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlmodel import Session

from app.erasure_states import ErasureKind
from app.erasure_tables import Erasure
from app.job_options import JobOptions, ResolvedOptions
from app.job_states import StepKind, TrialOrigin
from app.repositories import erasures, history, jobs, users
from app.schemas.erasures import Removed
from app.settings import Settings
from app.tables import Job, Step, Trial, Version
from engine.history import Sample

START = datetime(2026, 1, 1, tzinfo=UTC)


def options() -> ResolvedOptions:
    """Complete options of a quick job with a fixed seed."""
    return JobOptions(preset="quick", seed=7).resolve(Settings(_env_file=None))


def samples(count: int, *, first: int = 0) -> list[Sample]:
    """Distinct samples, an hour apart."""
    numbers = range(first, first + count)
    return [Sample(f"question {i}", f"answer {i}", START + timedelta(hours=i)) for i in numbers]


def add_user(session: Session, tenant: str = "t", user_id: str = "u", pairs: Sequence[Sample] = ()) -> None:
    users.ensure_user(session, tenant, user_id, None)
    if pairs:
        history.add_samples(session, tenant, user_id, pairs, limit=len(pairs) + 1000)


def add_job(session: Session, tenant: str = "t", user_id: str = "u") -> Job:
    """A queued job of a user made on the way."""
    users.ensure_user(session, tenant, user_id, None)
    return jobs.create_job(session, tenant, user_id, options())


def add_trials(session: Session, job: Job, count: int) -> list[Trial]:
    """Planned trials 0..count-1 of the job, in one evaluate step."""
    step = Step(tenant_id=job.tenant_id, job_id=job.id, kind=StepKind.evaluate)
    session.add(step)
    session.flush()
    made = [
        Trial(
            tenant_id=job.tenant_id,
            job_id=job.id,
            step_id=step.id,
            number=number,
            origin=TrialOrigin.base if number == 0 else TrialOrigin.initial,
            layers="0011",
            n=number,
            r=8,
            seed=number,
        )
        for number in range(count)
    ]
    session.add_all(made)
    session.flush()
    return made


def complete_erasure(session: Session, tenant: str = "t", user_id: str = "u") -> Erasure:
    """The erasure of a user whom nobody held in memory."""
    removed = Removed(
        samples=3,
        samples_digest="0" * 64,
        jobs=0,
        jobs_cancelled=0,
        trials=0,
        versions=[],
        stacks=0,
        remembered_answers=0,
        webhook_deliveries=0,
    )
    erasure = erasures.begin(session, tenant, user_id, ErasureKind.user, removed.model_dump(), [])
    for holder in erasures.holders(session, erasure):
        session.delete(holder)
    erasures.complete(session, erasure)
    return erasure


def version(
    number: int = 1, *, tenant: str = "t", user_id: str = "u", job: Job | None = None, with_memory: bool = False
) -> Version:
    """A version that is not yet in the database."""
    identity = f"v_{number:032x}"
    return Version(
        id=identity,
        tenant_id=tenant,
        user_id=user_id,
        job_id=job.id if job else None,
        path=f"{tenant}/{user_id}/{identity}",
        layers="0011",
        n=2,
        r=8,
        base_digest="0" * 64,
        passed_gate=True,
        with_memory=with_memory,
    )
