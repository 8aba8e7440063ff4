"""What is left of a step whose job meanwhile ended: a version in the store that nobody knows of, and the word that an
erasure waits for, that this worker holds nothing of the user any more.

Failing here costs space and time, never a job.
"""

from __future__ import annotations

import structlog

from adapters_store.errors import StoreError
from app.erasure_states import HolderState
from app.errors import DatabaseAwayError
from app.job_states import FINAL
from app.repositories import erasures
from app.tables import Job, Step
from workers.context import Context
from workers.steps.outcome import Outcome

log = structlog.get_logger(__name__)


def clean_up(context: Context, job: Job, step: Step, outcome: Outcome | None) -> None:
    """Called after every step: if its job is over, remove what the step found and no row names, and say so.

    Raises nothing: what goes wrong is logged.

    Args:
        job: the step's job as it was before the step.
        outcome: what the step found, whether or not it could be recorded.
    """
    try:
        with context.database.read() as session:
            present = session.get(Job, job.id)
        if present is not None and present.status not in FINAL:
            return
        if outcome is not None:
            outcome.discard(context, job)
        with context.database.write() as session:
            erasures.confirm(session, erasures.step_name(step.id), HolderState.forgot)
    except (StoreError, DatabaseAwayError) as error:
        log.warning("leftovers_stay", job=job.id, reason=str(error))
    except Exception as error:
        # The step has ended and is recorded: whatever is wrong here must not look like a failure of it.
        log.error("leftovers_stay", job=job.id, error=type(error).__name__, exc_info=error)
