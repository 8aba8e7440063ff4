"""When each key was last used, noted by requests and written down by nobody whom a request waits for.

A note costs a request a place in a dictionary; `app.housekeeping` writes them. Those of the last seconds before a
process ends are lost. Knows no HTTP.
"""

from __future__ import annotations

from datetime import datetime
from threading import Lock

from app.access.identity import USE_NOTED_EVERY
from app.database import Database
from app.repositories import api_keys


class KeyUse:
    """Notes that wait to be written. Threads may share it."""

    def __init__(self) -> None:
        self._waiting: dict[str, datetime] = {}
        self._lock = Lock()

    def note(self, key_id: str, moment: datetime) -> None:
        with self._lock:
            self._waiting.setdefault(key_id, moment)

    def write(self, database: Database) -> None:
        """Write what waits; at most one note a key and minute, whichever processes noted it.

        Raises:
            DatabaseAwayError: what waited is dropped; the next use is noted anew.
        """
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        if waiting:
            with database.write() as session:
                for key_id in sorted(waiting):  # in one order, so that two processes never wait for each other
                    api_keys.mark_used(session, key_id, waiting[key_id], USE_NOTED_EVERY)
