"""The one task: look at a step. Loads nothing heavy before the first step is really run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from celery import shared_task

from app.errors import DatabaseAwayError
from workers import leaving
from workers.celery_app import TASK, settings

if TYPE_CHECKING:
    from workers.context import Context

log = structlog.get_logger(__name__)
_context: Context | None = None


@shared_task(name=TASK)  # type: ignore[untyped-decorator]
def step(step_id: int) -> None:
    """Run the step if it can be claimed. Never fails: the database says what became of it."""
    if leaving.is_leaving():
        return
    from workers.plans_beside import PlansBeside
    from workers.runner import run_step

    try:
        with PlansBeside(_the_context(), leaving.is_leaving):
            run_step(_the_context(), step_id, leaving.is_leaving)
    except DatabaseAwayError as error:
        log.warning("step_not_run", step=step_id, reason=error.detail)


def _the_context() -> Context:
    """This process's context, made on the first step."""
    global _context
    if _context is None:
        from workers.context import Context
        from workers.proposer import Proposer

        _context = Context(settings, Proposer().ask)
    return _context
