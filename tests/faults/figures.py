"""What the tests of a run really counted, as rows with a bound each; and the run's seed and number of rounds.

Knows no fault.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import pytest

from benchmarks.bounds import Bounded, at_most


class Figures:
    """A plugin of pytest, so that rows outlive the tests that found them.

    Attributes:
        seed: of everything random; FAULTS_SEED in the environment repeats an earlier run.
        quick: whether the environment asks for a shorter run.
    """

    def __init__(self) -> None:
        self.seed = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(10**6))
        self.quick = bool(os.environ.get("QUICK"))
        self._rows: list[Bounded] = []
        self._failed = 0

    @property
    def rows(self) -> list[Bounded]:
        return [*self._rows, at_most("tests that failed", self._failed, "tests", 0)] if self._rows else []

    def rounds(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def hold(self, *rows: Bounded) -> None:
        """Keep the rows, and fail the test unless each kept its bound."""
        self._rows += rows
        broken = [row for row in rows if not row.held]
        assert not broken, broken

    def none_of(self, what: Sequence[object], name: str, unit: str) -> None:
        """Keep how many there were of what must not be, and fail the test if there was any."""
        row = at_most(name, len(what), unit, 0)
        self._rows.append(row)
        assert not what, f"{name}: {list(what)[:5]}"

    def pytest_report_header(self) -> str:
        return f"faults: FAULTS_SEED={self.seed}"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed += report.failed
