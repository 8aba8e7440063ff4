"""The thread that says, as long as this worker lives, that it does. Must not know what the worker works at."""

from __future__ import annotations

import threading

from app import presence
from app.errors import BrokerAwayError


class Presence(threading.Thread):
    """Marks this worker as alive until it is stopped.

    Args:
        broker_url: Redis as Celery names it.
        name: of this worker among all.
    """

    def __init__(self, broker_url: str, name: str) -> None:
        super().__init__(name="presence", daemon=True)
        self._broker_url = broker_url
        self._worker = name
        self._stopped = threading.Event()

    def run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            pause = presence.EVERY_SECONDS
            try:
                presence.mark(self._broker_url, self._worker)
            except BrokerAwayError:
                continue  # Celery's log says so
        try:
            presence.unmark(self._broker_url, self._worker)
        except BrokerAwayError:
            return  # the mark fades

    def stop(self) -> None:
        """Take the mark away; from then on nobody counts on this worker."""
        self._stopped.set()
