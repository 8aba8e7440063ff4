"""A history taken in, and the job that will learn it, in one transaction. Knows no HTTP."""

from __future__ import annotations

from sqlmodel import Session

from app.errors import EmptyHistoryError, HistoryTooShortError
from app.importing import Import
from app.job_options import JobOptions
from app.job_views import summaries
from app.repositories import history, jobs, users
from app.schemas.history import HistoryAdded, JobSkipped
from app.settings import Settings
from app.tables import Job, now


def take_in(session: Session, tenant: str, user_id: str, given: Import, settings: Settings) -> HistoryAdded:
    """Add samples to the user, who is made if new, and start a job if that is wanted and possible.

    Raises:
        TooManySamplesError: the user would have too many.
        HistoryTooShortError: a job was demanded (`personalize` true) and there is too little to learn from.
    """
    user = users.ensure_user(session, tenant, user_id, given.profile)
    added = history.add_samples(session, tenant, user_id, given.samples, settings.max_history_samples)
    if added.added:
        # The retrievers of all API processes know a changed history by this time.
        user.updated_at = now()
    skipped = _reason_to_skip(given, added, settings)
    job = None if skipped else start_job(session, tenant, user_id, given.options, settings)
    return HistoryAdded(
        user_id=user_id,
        added=added.added,
        duplicates=added.duplicates,
        total=added.total,
        job=summaries(session, tenant, [job])[0] if job else None,
        job_skipped=skipped,
    )


def start_job(session: Session, tenant: str, user_id: str, options: JobOptions | None, settings: Settings) -> Job:
    """A job that will learn the user's history as it is at the end of this transaction.

    A job that is queued and not begun will see the same history: it is given instead of a second one,
    with `options` in place of its own where there are any: the latest word counts.

    Raises:
        UserNotFoundError, EmptyHistoryError, HistoryTooShortError
    """
    users.lock_user(session, tenant, user_id)
    count = history.count_samples(session, tenant, user_id)
    if count == 0:
        raise EmptyHistoryError(f"User '{user_id}' has no history. POST /v1/users/{user_id}/history first.")
    if count < settings.min_history_samples:
        raise HistoryTooShortError(_too_short(count, settings))
    waiting = jobs.queued_job(session, tenant, user_id)
    if waiting is None:
        return jobs.create_job(session, tenant, user_id, (options or JobOptions()).resolve(settings))
    if options is not None:
        # Its row is held: no worker reads the old options any more.
        waiting.options = options.resolve(settings).model_dump(mode="json")
        session.add(waiting)
        session.flush()
    return waiting


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
        "(70 % train, 10 % validation, 20 % test). Send more of this user's history."
    )
