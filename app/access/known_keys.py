"""Keys looked up a moment ago, so that of many requests with one key only one a second asks the database.

So a key that is revoked, rotated or given other limits is taken as before for a second at most; in the process that
was asked to do it, not even that. Knows no HTTP.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.tables import ApiKey

TRUSTED_SECONDS = 1.0
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    row: ApiKey
    moment: datetime
    at: float


class KnownKeys:
    """Threads may share it. Only keys that there are get in, so nobody fills it by guessing."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def find(self, key_id: str) -> tuple[ApiKey, datetime] | None:
        """The key as it was less than a second ago, and the database's present moment."""
        known = self._known.get(key_id)
        if known is None:
            return None
        passed = time.monotonic() - known.at
        if not 0 <= passed < TRUSTED_SECONDS:
            return None
        return known.row, known.moment + timedelta(seconds=passed)

    def keep(self, row: ApiKey, moment: datetime, asked_at: float) -> None:
        """Note a key found at `moment` by the database's clock.

        Args:
            asked_at: when the database was asked, by `time.monotonic`: the second runs from before it answered.
        """
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[row.id] = _Known(row, moment, asked_at)

    def forget(self, key_id: str) -> None:
        """It was changed: the next request looks it up."""
        self._known.pop(key_id, None)
