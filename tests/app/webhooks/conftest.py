"""Fixtures of the webhooks' tests: a receiver on the loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.receiver import Receiver, receiver


@pytest.fixture
def receiving() -> Iterator[Receiver]:
    """A receiver that answers 204 unless told otherwise."""
    with receiver() as found:
        yield found
