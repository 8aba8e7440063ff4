"""A process whose clock is wrong, as one on another machine may be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo

import pytest


@contextmanager
def clock_off_by(hours: int) -> Iterator[None]:
    """For the length of the block, `app.tables.now` and whoever calls it are so many hours ahead, or behind."""

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(hours=hours)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.tables.datetime", Wrong)
        yield
