"""Deleting one sample: what has learned it is marked, what is learning it is cancelled. Knows no HTTP.

A stack cannot unlearn a sample. Its version goes on answering, for the user is better served so, but says so each time;
whether the history is learned anew, or the version deactivated, is for whoever deleted to say.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session

from app.access.identity import Identity
from app.intake import start_job
from app.repositories import history, jobs, users, versions
from app.repositories.erasures import refuse_if_erasing
from app.schemas.erasures import LearnedSample, LearnedSamples, Retraining, SampleDeleted
from app.settings import Settings
from app.tables import Job, Version, now

_LEARNED = ("train", "validation")
"""Parts of a job's split that its version was trained on."""
_KNOWN = (*_LEARNED, "test")
"""Parts that a job at work looks at."""


def delete_sample(
    session: Session, by: Identity, user_id: str, sample_id: int, personalize: bool, settings: Settings
) -> SampleDeleted:
    """Delete it, in the caller's transaction.

    Raises:
        UserNotFoundError, SampleNotFoundError, UserBeingErasedError
        EmptyHistoryError, HistoryTooShortError, TooManyJobsError: a job was asked for and cannot be started.
    """
    tenant = by.tenant
    users.get_user(session, tenant, user_id)
    # Jobs before their user, as a worker that publishes takes them.
    cancelled = _cancel_learning(session, tenant, user_id, sample_id)
    user = users.lock_user(session, tenant, user_id)
    refuse_if_erasing(session, tenant, user_id)
    cancelled += _cancel_learning(session, tenant, user_id, sample_id)
    row = history.get_sample(session, tenant, user_id, sample_id)
    marked = [
        version.id for version, job in versions.with_jobs(session, tenant, user_id) if _is_in(job, _LEARNED, sample_id)
    ]
    versions.mark_deleted_sample(session, tenant, user_id, marked, row.digest)
    history.delete_sample(session, row)
    user.updated_at = now()
    session.flush()
    job = start_job(session, by, user_id, None, settings).job if personalize else None
    return SampleDeleted(
        user_id=user_id,
        sample_id=sample_id,
        digest=row.digest,
        versions_marked=marked,
        active_version_marked=user.active_version_id in marked,
        jobs_cancelled=cancelled,
        job_id=job.id if job else None,
        retrain=None if job else Retraining(method="POST", path=f"/v1/users/{user_id}/personalizations"),
    )


def learned_samples(session: Session, version: Version, digests: list[str]) -> LearnedSamples:
    """What a version was trained on, by the digests in its record, and what of it is still there."""
    here = history.ids_by_digest(session, version.tenant_id, version.user_id)
    samples = [LearnedSample(digest=digest, sample_id=here.get(digest)) for digest in digests]
    return LearnedSamples(
        version_id=version.id, samples=samples, deleted=sum(sample.sample_id is None for sample in samples)
    )


def _cancel_learning(session: Session, tenant: str, user_id: str, sample_id: int) -> int:
    learning = [job for job in jobs.unfinished_jobs(session, tenant, user_id) if _is_in(job, _KNOWN, sample_id)]
    for job in learning:
        jobs.cancel_job(session, job)
    return len(learning)


def _is_in(job: Job | None, parts: Sequence[str], sample_id: int) -> bool:
    """Whether the sample is in one of these parts of the job's split."""
    split = (job.split if job else None) or {}
    return any(sample_id in split.get(part, ()) for part in parts)
