"""Plan steps that are due while this process trains: a thread of its own claims them, so that the next trials are known
when the present ones end.

A message would wait until the process is free. Must not know what planning is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

import structlog

from app.errors import DatabaseAwayError
from app.repositories import steps
from app.repositories.clock import database_now
from workers.context import Context
from workers.runner import run_step

_LOOK_SECONDS = 0.2
"""How soon a plan at work is interrupted when its worker has to end."""

log = structlog.get_logger(__name__)


class PlansBeside:
    """Looks for plan steps to make, of any job, for as long as the `with` block runs.

    Args:
        is_leaving: whether this worker was told to end.
        interrupt: called then: a plan at work has to fail, for it would make the worker wait; another takes it.
    """

    def __init__(
        self, context: Context, is_leaving: Callable[[], bool], interrupt: Callable[[], None] = lambda: None
    ) -> None:
        self._context = context
        self._is_leaving = is_leaving
        self._interrupt = interrupt
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="plans-beside", daemon=True)

    def __enter__(self) -> PlansBeside:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        while self._thread.is_alive():
            if self._is_leaving():
                self._interrupt()
            self._thread.join(_LOOK_SECONDS)

    def _look(self) -> None:
        while not self._ended.wait(self._context.settings.dispatch_seconds):
            if self._is_leaving():
                return
            try:
                with self._context.database.read() as session:
                    plan = steps.plan_to_make(session, database_now(session))
                if plan is not None:
                    run_step(self._context, plan.id or 0, self._is_leaving)
            except DatabaseAwayError as error:
                log.warning("plans_beside_wait", reason=error.detail)
