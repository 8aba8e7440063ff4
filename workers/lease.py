"""The heartbeat that keeps a worker's hold on a step while it works. Must not know what the work is."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from types import TracebackType

import structlog

from app.database import Database
from app.errors import DatabaseAwayError
from app.repositories import steps

log = structlog.get_logger(__name__)


class Heartbeat:
    """Renews a claim from its own thread, for as long as the `with` block runs and the work goes on.

    `lost` is set once the claim is certainly or possibly another worker's: it was taken, cancelled or deleted, the
    database could not be asked until the lease ran out, or the work hangs.

    Args:
        held: the claim, just taken.
        lease_seconds: how long each renewal lasts.
        every_seconds: pause between two renewals.
        stuck_seconds: work that showed no sign of life for so long hangs: `alive` was not called.
        on_stuck: called then; the lease is not renewed any more.
    """

    def __init__(
        self,
        database: Database,
        held: steps.Claim,
        lease_seconds: float,
        every_seconds: float,
        stuck_seconds: float = math.inf,
        on_stuck: Callable[[], None] = lambda: None,
    ) -> None:
        self.lost = threading.Event()
        self._database = database
        self._held = held
        self._lease_seconds = lease_seconds
        # Three tries fit into one lease, however the settings are chosen.
        self._every_seconds = min(every_seconds, lease_seconds / 3)
        self._stuck_seconds = stuck_seconds
        self._on_stuck = on_stuck
        self._alive = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease-of-step-{held.step_id}", daemon=True)

    def alive(self) -> None:
        """The work goes on."""
        self._alive = time.monotonic()

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        deadline = time.monotonic() + self._lease_seconds
        while not self._ended.wait(self._every_seconds):
            if time.monotonic() - self._alive > self._stuck_seconds:
                log.error("step_stuck", step=self._held.step_id, seconds=self._stuck_seconds)
                self.lost.set()
                self._on_stuck()
                return
            asked = time.monotonic()
            try:
                with self._database.write() as session:
                    kept = steps.renew(session, self._held, self._lease_seconds)
            except DatabaseAwayError as error:
                log.warning("lease_not_renewed", step=self._held.step_id, reason=error.detail)
                kept = asked < deadline
            else:
                deadline = asked + self._lease_seconds
            if not kept:
                self.lost.set()
                return
