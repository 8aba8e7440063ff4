"""What a step put into the store for a job that meanwhile ended: a version nobody knows of.

Failing here costs space, never a job.
"""

from __future__ import annotations

import structlog

from adapters_store.errors import StoreError
from app.errors import DatabaseAwayError
from app.job_states import FINAL
from app.tables import Job
from workers.context import Context
from workers.steps.outcome import Outcome

log = structlog.get_logger(__name__)


def clean_up(context: Context, job: Job, outcome: Outcome | None) -> None:
    """Called after every step: if its job is over, remove what the step found and no row names.

    Raises nothing: what goes wrong is logged.

    Args:
        job: the step's job as it was before the step.
        outcome: what the step found, whether or not it could be recorded.
    """
    try:
        with context.database.read() as session:
            present = session.get(Job, job.id)
        if outcome is not None and (present is None or present.status in FINAL):
            outcome.discard(context, job)
    except (StoreError, DatabaseAwayError) as error:
        log.warning("leftovers_stay", job=job.id, reason=str(error))
    except Exception as error:
        # The step has ended and is recorded: whatever is wrong here must not look like a failure of it.
        log.error("leftovers_stay", job=job.id, error=type(error).__name__, exc_info=error)
