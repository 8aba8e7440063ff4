"""The one task: look at a step. Loads nothing heavy before the first step is really run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import structlog
from celery import shared_task

from app.errors import DatabaseAwayError
from workers import leaving
from workers.celery_app import TASK, settings
from workers.proposer import Proposer

if TYPE_CHECKING:
    from workers.context import Context

log = structlog.get_logger(__name__)
_RUNG = 2
"""Rings for a step, a second apart, that no idle worker heard: then a busy one may take it beside what it does."""
_context: Context | None = None
_proposer = Proposer()


@shared_task(name=TASK)  # type: ignore[untyped-decorator]  # Celery's
def step(step_id: int) -> None:
    """Run the step if it can be claimed. Never fails: the database says what became of it."""
    if leaving.is_leaving():
        return
    from workers.beside import work

    try:
        work(_the_context(), step_id, leaving.is_leaving, _proposer.interrupt, rung=_RUNG)
    except DatabaseAwayError as error:
        log.warning("step_not_run", step=step_id, reason=error.detail)


def _the_context() -> Context:
    """This process's context, made on the first step."""
    global _context
    if _context is None:
        from workers.context import Context

        _context = Context(settings, _proposer.ask, _end_process)
    return _context


def _end_process() -> None:
    """The pool starts another in its place; the step's lease runs out and it is tried again."""
    _proposer.interrupt()
    os._exit(1)
