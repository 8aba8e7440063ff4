"""The dispatcher: a thread that rings the broker for due steps and takes steps from workers that fell silent.

It is the outbox's reader and the reconciler in one. Every worker runs one; they need not know of each other, for a
message sent twice does no harm. It survives the broker and the database being away. Must not know what steps do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from datetime import datetime

import structlog

from app.database import Database
from app.errors import DatabaseAwayError
from app.repositories import steps, waiting
from app.repositories.clock import database_now
from app.tables import Step

AT_ONCE = 100
"""Steps looked at in one go; the rest follow in the next."""
LONGEST_WAIT_SECONDS = 5.0
"""Longest pause while broker or database are away."""

log = structlog.get_logger(__name__)


class Dispatcher(threading.Thread):
    """Looks for due steps until it is stopped.

    Args:
        send: rings the broker for a step; raises OSError if the broker is away.
        every_seconds: pause between two looks.
        max_attempts: claims of one step after which its job is given up.
        lease_seconds: how long workers take a step for.
        end_silent: told the owners that renewed no lease though the database was there to ask: whatever of them is
            still a process hangs.
    """

    def __init__(
        self,
        database: Database,
        send: Callable[[Step], None],
        *,
        every_seconds: float,
        max_attempts: int,
        lease_seconds: float,
        end_silent: Callable[[Collection[str]], None] = lambda _owners: None,
    ) -> None:
        super().__init__(name="dispatcher", daemon=True)
        self._database = database
        self._send = send
        self._every_seconds = every_seconds
        self._max_attempts = max_attempts
        self._lease_seconds = lease_seconds
        self._end_silent = end_silent
        self._looked = time.monotonic()
        self._stopped = threading.Event()

    def run(self) -> None:
        pause = self._every_seconds
        while not self._stopped.wait(pause):
            try:
                self.look()
            except Exception as error:  # whatever it is, the next look may go better; without looks nothing runs
                if pause == self._every_seconds:
                    known = isinstance(error, DatabaseAwayError | OSError)
                    log.warning("dispatcher_waits", reason=str(error), exc_info=None if known else error)
                pause = min(LONGEST_WAIT_SECONDS, 2 * pause)
            else:
                if pause != self._every_seconds:
                    log.info("dispatcher_goes_on")
                pause = self._every_seconds

    def stop(self) -> None:
        """End after the present look."""
        self._stopped.set()

    def look(self) -> None:
        """Release steps whose lease ran out, heed a clock that was set back, then ring for each due step.

        Raises:
            DatabaseAwayError, or what `send` raises.
        """
        with self._database.read() as session:
            moment = database_now(session)
            expired = steps.any_expired(session, moment)
            ahead = steps.any_ahead(session, moment, self._lease_seconds)
        if ahead:
            with self._database.write() as session:
                steps.catch_up(session, moment, self._lease_seconds)
            log.warning("clock_was_set_back", now=moment.isoformat())
        if expired:
            self._release(moment)
        self._looked = time.monotonic()
        with self._database.read() as session:
            due = waiting.due(session, moment, AT_ONCE)
        for step in due:
            # Marked only once it was sent: if the broker is away, the step stays due.
            self._send(step)
            with self._database.write() as session:
                steps.mark_sent(session, step, database_now(session))

    def _release(self, moment: datetime) -> None:
        with self._database.write() as session:
            released = steps.release_expired(session, moment, self._max_attempts)
            silent = set(released.values()) - steps.owners_at_work(session, moment)
        log.warning("leases_expired", steps=list(released))
        # After a look that was long ago the database, or this process, was away: a worker could not renew either.
        if silent and time.monotonic() - self._looked < self._lease_seconds / 2:
            self._end_silent(silent)
