"""A worker process at work on a step, and what it does beside it: plans that are due, so that the next trials are known
when the present ones end, and training for cores that have run out of work, of the same job or of another.

A message would wait until the process is free. Must not know what planning and training are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from types import TracebackType

import structlog
from sqlmodel import Session

from app.errors import DatabaseAwayError
from app.repositories import waiting
from app.repositories.clock import database_now
from app.tables import Step
from engine.training import has_room
from workers.context import Context
from workers.runner import run_step

_LOOK_SECONDS = 0.2
"""How soon a plan at work is interrupted when its worker has to end."""

Find = Callable[[Session, datetime], Step | None]
log = structlog.get_logger(__name__)


def work(
    context: Context,
    step_id: int,
    is_leaving: Callable[[], bool] = lambda: False,
    interrupt: Callable[[], None] = lambda: None,
    *,
    rung: int = 0,
) -> None:
    """Run a step, if it can be claimed, and what is due beside it; return once all that was taken has ended.

    Args:
        is_leaving: whether this worker was told to end.
        interrupt: called then: a plan at work has to fail, for it would make the worker wait; another takes it.
        rung: how often the broker has to have been rung for training that is taken beside, so that a worker with
            nothing to do gets it first.

    Raises:
        DatabaseAwayError: the step could not be claimed, or what came of it could not be noted.
    """

    def training(session: Session, moment: datetime) -> Step | None:
        return waiting.training_to_make(session, moment, rung) if has_room(context.base) else None

    plans = Beside(context, waiting.plan_to_make, is_leaving, interrupt)
    with plans, Beside(context, training, is_leaving) as beside:
        run_step(context, step_id, is_leaving)
        beside.end()
        # What was begun beside has not all cores to itself either.
        while beside.is_alive and not is_leaving():
            if not beside.take():
                beside.wait(context.settings.dispatch_seconds)


class Beside:
    """Looks for steps to make, of any job, and makes them one after another, for as long as the `with` block runs.

    Args:
        find: which step to make next.
        is_leaving, interrupt: as of `work`.
    """

    def __init__(
        self,
        context: Context,
        find: Find,
        is_leaving: Callable[[], bool],
        interrupt: Callable[[], None] = lambda: None,
    ) -> None:
        self._context = context
        self._find = find
        self._is_leaving = is_leaving
        self._interrupt = interrupt
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="beside", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether it looks for steps or makes one."""
        return self._thread.is_alive()

    def end(self) -> None:
        """Begin no further step."""
        self._ended.set()

    def wait(self, seconds: float) -> None:
        """Until the step that it makes has ended, or so long."""
        self._thread.join(seconds)

    def take(self) -> bool:
        """Make one step in the calling thread; False where there is none, or the database is away."""
        try:
            with self._context.database.read() as session:
                found = self._find(session, database_now(session))
            return found is not None and run_step(self._context, found.id or 0, self._is_leaving)
        except DatabaseAwayError as error:
            log.warning("steps_beside_wait", reason=error.detail)
            return False

    def __enter__(self) -> Beside:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        while self.is_alive:
            if self._is_leaving():
                self._interrupt()
            self.wait(_LOOK_SECONDS)

    def _look(self) -> None:
        while not self._ended.wait(self._context.settings.dispatch_seconds):
            if self._is_leaving():
                return
            self.take()
