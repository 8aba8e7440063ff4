"""What the judge's tests ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from evaluation.judge.asking import Judge
from tests.evaluation.judge.server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def judge(server: Server) -> Iterator[Judge]:
    with Judge(server.url, "some-model", attempts=3, pause=0.0) as made:
        yield made
