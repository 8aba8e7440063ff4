"""Fixtures of the webhooks' tests: receivers on the loopback, and senders that send when a test says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.receiver import Receiver, receiver


@pytest.fixture
def receiving() -> Iterator[Receiver]:
    """A receiver that answers 204 unless told otherwise."""
    with receiver() as found:
        yield found
