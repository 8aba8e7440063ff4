"""One step from claim to end: take the lease, do the work under a heartbeat, record the outcome in one transaction.

Must not know Celery: a message only says which step to look at.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import structlog

from app.errors import DatabaseAwayError
from app.job_states import StepKind
from app.repositories import steps
from engine.errors import TrainingStoppedError
from workers.context import Context
from workers.failures import classify
from workers.lease import Heartbeat, owner_name
from workers.leftovers import clean_up
from workers.steps.evaluate import evaluate
from workers.steps.outcome import Outcome, Work
from workers.steps.plan import plan
from workers.steps.publish import publish

WORK: dict[StepKind, Work] = {StepKind.plan: plan, StepKind.evaluate: evaluate, StepKind.publish: publish}
RETRY_SECONDS = 5.0
"""Pause before a step that failed for a passing reason is tried again, times the attempts so far."""
RECORD_AGAIN_SECONDS = 0.5

log = structlog.get_logger(__name__)


def run_step(context: Context, step_id: int, is_leaving: Callable[[], bool] = lambda: False) -> bool:
    """Work on a step if it can be claimed; False if it cannot, because someone else has it or it is over.

    Args:
        is_leaving: whether this worker was told to end; the step is then given back.

    Raises:
        DatabaseAwayError: it could not be claimed, or what came of it could not be noted. The lease sorts that out.
    """
    settings = context.settings
    with context.database.write() as session:
        held = steps.claim(session, step_id, owner_name(os.getpid()), settings.lease_seconds)
        if held is None:
            return False
        job, step = steps.hold(session, held)
    told = log.bind(job=job.id, step=step.id, kind=step.kind.value, attempt=held.attempt)
    told.info("step_claimed")
    outcome: Outcome | None = None
    with Heartbeat(
        context.database,
        held,
        settings.lease_seconds,
        settings.heartbeat_seconds,
        settings.stuck_seconds,
        context.on_stuck,
    ) as heartbeat:

        def should_stop() -> bool:
            # Asked between any two pieces of work, so it is a sign of life too.
            heartbeat.alive()
            return heartbeat.lost.is_set() or is_leaving()

        try:
            try:
                outcome = WORK[step.kind](context, job, step, should_stop)
                _record(context, held, outcome, heartbeat)
                told.info("step_done")
            except Exception as error:
                _settle(context, held, error, heartbeat, told)
        except steps.LeaseLostError as error:
            told.info("step_lost", reason=str(error))
    clean_up(context, job, step, outcome)
    return True


def _record(context: Context, held: steps.Claim, outcome: Outcome, heartbeat: Heartbeat) -> None:
    """End the step with its results. A database that is away for a moment does not cost the work."""
    while True:
        try:
            with context.database.write() as session:
                outcome.record(session, steps.finish(session, held))
        except DatabaseAwayError:
            heartbeat.alive()
            if heartbeat.lost.wait(RECORD_AGAIN_SECONDS):
                raise
        else:
            return


def _settle(
    context: Context, held: steps.Claim, error: Exception, heartbeat: Heartbeat, told: structlog.BoundLogger
) -> None:
    """What happens to a step whose work ended with `error`: given back for now or later, or failed with its job.

    Raises:
        LeaseLostError: it is not ours any more, so nothing does.
    """
    if isinstance(error, steps.LeaseLostError) or heartbeat.lost.is_set():
        raise steps.LeaseLostError(str(error)) from error
    with context.database.write() as session:
        if isinstance(error, TrainingStoppedError):
            steps.give_back(session, held)
            told.info("step_given_back")
            return
        failure = classify(error)
        note = told.bind(code=failure.code, detail=failure.detail, error=type(error).__name__)
        if failure.retry and held.attempt < context.settings.max_attempts:
            steps.give_back(session, held, RETRY_SECONDS * held.attempt)
            note.warning("step_will_be_retried", exc_info=error if failure.unexpected else None)
        else:
            steps.fail(session, held, failure.code, failure.detail)
            note.error("step_failed", exc_info=error if failure.unexpected else None)
