"""A history taken in, and the job that will learn it, in one transaction. Knows no HTTP."""

from __future__ import annotations

from sqlmodel import Session

from app import job_views
from app.access.identity import Identity
from app.errors import EmptyHistoryError, HistoryTooShortError, TooManyJobsError
from app.importing import Import
from app.job_options import JobOptions
from app.logging import present_request
from app.repositories import history, jobs, users
from app.schemas.history import HistoryAdded, JobSkipped
from app.settings import Settings
from app.tracing import present_trace

_JOBS_RETRY_SECONDS = 60
"""Jobs take minutes."""


def take_in(session: Session, by: Identity, user_id: str, given: Import, settings: Settings) -> HistoryAdded:
    """Add samples to the user of `by`'s tenant, who is made if new, and start a job if that is wanted and possible.

    Raises:
        TooManySamplesError: the user would have too many.
        TooManyJobsError: a job was demanded, and the key has as many as it may.
        HistoryTooShortError: a job was demanded (`personalize` true) and there is too little to learn from.
    """
    tenant = by.tenant
    users.ensure_user(session, tenant, user_id, given.profile)
    added = history.add_samples(session, tenant, user_id, given.samples, settings.max_history_samples)
    skipped = _reason_to_skip(given, added, settings)
    job = None
    if skipped is None:
        try:
            job = start_job(session, by, user_id, given.options, settings, added.total)
        except TooManyJobsError as error:
            if given.personalize is True:
                raise
            # Nobody demanded the job: the history is worth keeping without one.
            skipped = JobSkipped(code="too_many_jobs", detail=error.detail)
    return HistoryAdded(
        user_id=user_id,
        added=added.added,
        duplicates=added.duplicates,
        total=added.total,
        job=job_views.waiting(job) if job else None,
        job_skipped=skipped,
    )


def start_job(
    session: Session,
    by: Identity,
    user_id: str,
    options: JobOptions | None,
    settings: Settings,
    samples: int | None = None,
) -> jobs.Waiting:
    """A job that will learn the user's history as it is at the end of this transaction.

    A job that is queued and not begun will see the same history: it is given instead of a second one,
    with `options` in place of its own where there are any: the latest word counts.

    Args:
        samples: how many the user has, where this transaction knows.

    Raises:
        UserNotFoundError, EmptyHistoryError, HistoryTooShortError
        TooManyJobsError: the key has as many unfinished jobs as it may.
    """
    tenant = by.tenant
    users.lock_user(session, tenant, user_id)
    count = history.count_samples(session, tenant, user_id) if samples is None else samples
    if count == 0:
        raise EmptyHistoryError(f"User '{user_id}' has no history. POST /v1/users/{user_id}/history first.")
    if count < settings.min_history_samples:
        raise HistoryTooShortError(_too_short(count, settings))
    waiting = jobs.queued_job(session, tenant, user_id)
    if waiting is None:
        _check_jobs(session, by)
        cause = jobs.Cause(by.key_id, present_request(), present_trace())
        job = jobs.create_job(session, tenant, user_id, (options or JobOptions()).resolve(settings), cause)
        return jobs.Waiting(job, jobs.waits_for(session, job))
    if options is not None:
        # Its row is held: no worker reads the old options any more.
        waiting.job.options = options.resolve(settings).model_dump(mode="json")
        session.add(waiting.job)
        session.flush()
    return waiting


def _check_jobs(session: Session, by: Identity) -> None:
    """Raises: TooManyJobsError."""
    most = by.limits.concurrent_jobs
    if most and jobs.unfinished_jobs_of_key(session, by.tenant, by.key_id) >= most:
        raise TooManyJobsError(
            f"This API key has {most} unfinished jobs, as many as it may. Ask for another when one has ended.",
            headers={"Retry-After": str(_JOBS_RETRY_SECONDS)},
        )


def _reason_to_skip(given: Import, added: history.Added, settings: Settings) -> JobSkipped | None:
    if given.personalize is False:
        return JobSkipped(code="not_asked", detail="The history was only stored, as asked (personalize is false).")
    if given.personalize is True:
        return None
    if added.total < settings.min_history_samples:
        return JobSkipped(code="history_too_short", detail=_too_short(added.total, settings))
    if not added.added:
        return JobSkipped(code="nothing_new", detail="All of these samples were there already.")
    return None


def _too_short(count: int, settings: Settings) -> str:
    return (
        f"{count} samples are too few to personalise: at least {settings.min_history_samples} are needed "
        "(60 % train, 20 % validation, 20 % test). Send more of this user's history."
    )
