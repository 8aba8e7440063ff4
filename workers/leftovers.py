"""What a step put into the store and no row names, because its job ended meanwhile or its worker was killed.

A folder is noted before it is written, and what was noted is looked after when the step is over. And the word that an
erasure waits for: that this worker holds nothing of the user any more. Failing to costs space and time, never a job.
"""

from __future__ import annotations

import structlog
from sqlalchemy.exc import NoResultFound

from adapters_store.errors import StoreError
from app.erasure_states import HolderState
from app.errors import DatabaseAwayError, UserNotFoundError
from app.job_states import FINAL, StepKind
from app.repositories import erasures, leftovers
from app.tables import Job, Step
from workers.context import Context
from workers.steps.outcome import Outcome

AT_ONCE = 20
"""Steps looked after in one go; the rest follow with the next."""

log = structlog.get_logger(__name__)


def announce(context: Context, step: Step, path: str) -> None:
    """Note that the step is about to write a folder.

    Raises:
        LeaseLostError: the step is no longer this worker's, so nothing may be written.
    """
    with context.database.write() as session:
        leftovers.announce(session, step, path)


def clean_up(context: Context, job: Job, step: Step, outcome: Outcome | None) -> None:
    """Called after every step: if its job is over, remove what the step found and no row names, and say so.

    A publish step also looks after what others left: those of workers that were killed.

    Raises nothing: what goes wrong is logged.

    Args:
        job, step: as they were when the step was claimed.
        outcome: what the step found, whether or not it could be recorded.
    """
    try:
        with context.database.read() as session:
            present = session.get(Job, job.id)
        if present is None or present.status in FINAL:
            if outcome is not None:
                outcome.discard(context, job)
            with context.database.write() as session:
                erasures.confirm(session, erasures.step_name(step.id), HolderState.forgot)
        if step.kind == StepKind.publish:
            sweep(context)
    except (StoreError, DatabaseAwayError) as error:
        log.warning("leftovers_stay", job=job.id, reason=str(error))
    except Exception as error:
        # The step has ended and is recorded: whatever is wrong here must not look like a failure of it.
        log.error("leftovers_stay", job=job.id, error=type(error).__name__, exc_info=error)


def sweep(context: Context) -> list[str]:
    """Erase the folders that steps which are over left and no row names; their paths.

    Raises:
        StoreError, DatabaseAwayError: those not yet erased will be looked for again.
    """
    erased = []
    with context.database.read() as session:
        found = leftovers.unsettled_steps(session, AT_ONCE)
    for step in found:
        try:
            with context.database.write() as session:
                # Within the transaction: a folder whose note is gone could not be found again.
                for path in leftovers.settle(session, session.get_one(Step, step.id)):
                    context.store.erase_version(path)
                    erased.append(path)
        except (UserNotFoundError, NoResultFound):
            continue  # deleted meanwhile, with their user's folder
    if erased:
        log.info("leftovers_erased", paths=erased)
    return erased
