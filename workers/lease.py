"""The heartbeat that keeps a worker's hold on a step while it works. Must not know what the work is."""

from __future__ import annotations

import threading
import time
from types import TracebackType

import structlog

from app.database import Database
from app.errors import DatabaseAwayError
from app.repositories import steps

log = structlog.get_logger(__name__)


class Heartbeat:
    """Renews a claim from its own thread, for as long as the `with` block runs.

    `lost` is set once the claim is certainly or possibly another worker's: it was taken, cancelled or deleted, or the
    database could not be asked until the lease ran out.

    Args:
        held: the claim, just taken.
        lease_seconds: how long each renewal lasts.
        every_seconds: pause between two renewals.
    """

    def __init__(self, database: Database, held: steps.Claim, lease_seconds: float, every_seconds: float) -> None:
        self.lost = threading.Event()
        self._database = database
        self._held = held
        self._lease_seconds = lease_seconds
        # Three tries fit into one lease, however the settings are chosen.
        self._every_seconds = min(every_seconds, lease_seconds / 3)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease-of-step-{held.step_id}", daemon=True)

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
