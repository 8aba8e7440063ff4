"""Fixtures of the webhooks' tests: a receiver on the loopback, and a database of one kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.database import Database
from tests.support.receiver import Receiver, receiver


@pytest.fixture
def receiving() -> Iterator[Receiver]:
    """A receiver that answers 204 unless told otherwise."""
    with receiver() as found:
        yield found


@pytest.fixture
def on_sqlite(sqlite_url: str) -> Iterator[Database]:
    """An open database with all tables."""
    opened = Database(sqlite_url)
    yield opened
    opened.dispose()
