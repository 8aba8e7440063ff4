"""One step from claim to end: take the lease, do the work under a heartbeat, record the outcome in one transaction.

Must not know Celery: a message only says which step to look at.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import structlog

from app import tracing
from app.errors import DatabaseAwayError
from app.job_states import StepKind
from app.process_name import process_name
from app.repositories import steps, tallies
from app.repositories.clock import database_now
from app.repositories.tallies import Counted, Sum
from app.tables import Job, Step
from engine.errors import TrainingStoppedError
from workers.context import Context
from workers.failures import classify
from workers.lease import Heartbeat
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
        held = steps.claim(session, step_id, process_name(os.getpid()), settings.lease_seconds)
        if held is None:
            return False
        job, step = steps.hold(session, held)
        # By two clocks: the step was made on the API's, or another worker's.
        waited = max(0.0, (database_now(session) - step.created_at).total_seconds())
    ids: dict[str, str | int] = {"job": job.id, "step": step.id or 0, "kind": step.kind.value, "attempt": held.attempt}
    request = {"request_id": job.request_id} if job.request_id else {}
    attributes: tracing.Attributes = {f"milp.{name}": ids[name] for name in ids} | {"milp.waited_seconds": waited}
    with (
        structlog.contextvars.bound_contextvars(**ids, **request),
        tracing.span(f"step {step.kind.value}", attributes, within=job.trace) as span,
    ):
        log.info("step_claimed")
        with Heartbeat(
            context.database,
            held,
            settings.lease_seconds,
            settings.heartbeat_seconds,
            settings.stuck_seconds,
            context.on_stuck,
        ) as heartbeat:
            outcome, ended = _work(context, held, job, step, heartbeat, is_leaving)
        span.set_attribute("milp.ended", ended)
        clean_up(context, job, step, outcome)
    return True


def _work(
    context: Context, held: steps.Claim, job: Job, step: Step, heartbeat: Heartbeat, is_leaving: Callable[[], bool]
) -> tuple[Outcome | None, str]:
    """Do the step's work and settle what comes of it; the outcome, if it came to one, and how the step ended."""
    outcome: Outcome | None = None

    def should_stop() -> bool:
        # Asked between any two pieces of work, so it is a sign of life too.
        heartbeat.alive()
        return heartbeat.lost.is_set() or is_leaving()

    try:
        try:
            outcome = WORK[step.kind](context, job, step, should_stop)
            _record(context, held, outcome, heartbeat)
            log.info("step_done")
            return outcome, "done"
        except Exception as error:
            return outcome, _settle(context, held, error, heartbeat)
    except steps.LeaseLostError as error:
        log.info("step_lost", reason=str(error))
        return outcome, "lost"


def _record(context: Context, held: steps.Claim, outcome: Outcome, heartbeat: Heartbeat) -> None:
    """End the step with its results. A database that is away for a moment does not cost the work."""
    while True:
        try:
            with context.database.write() as session:
                outcome.record(session, steps.finish(session, held))
                spent: dict[str, Sum] = {phase: Sum(1, seconds) for phase, seconds in outcome.seconds.items()}
                tallies.add(session, held.tenant, Counted.phase, spent)
        except DatabaseAwayError:
            heartbeat.alive()
            if heartbeat.lost.wait(RECORD_AGAIN_SECONDS):
                raise
        else:
            return


def _settle(context: Context, held: steps.Claim, error: Exception, heartbeat: Heartbeat) -> str:
    """What happens to a step whose work ended with `error`: given back for now or later, or failed with its job.

    Returns:
        That, in a word.

    Raises:
        LeaseLostError: it is not ours any more, so nothing does.
    """
    if isinstance(error, steps.LeaseLostError) or heartbeat.lost.is_set():
        raise steps.LeaseLostError(str(error)) from error
    with context.database.write() as session:
        if isinstance(error, TrainingStoppedError):
            steps.give_back(session, held)
            log.info("step_given_back")
            return "given_back"
        failure = classify(error)
        note = log.bind(code=failure.code, detail=failure.detail, error=type(error).__name__)
        if failure.retry and held.attempt < context.settings.max_attempts:
            steps.give_back(session, held, RETRY_SECONDS * held.attempt)
            note.warning("step_will_be_retried", exc_info=error if failure.unexpected else None)
            return "to_be_retried"
        steps.fail(session, held, failure.code, failure.detail)
        note.error("step_failed", exc_info=error if failure.unexpected else None)
        return "failed"
