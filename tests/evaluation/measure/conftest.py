"""Searches of tests publish the average of two trainings: what is shown does not depend on how many."""

from __future__ import annotations

import pytest

from tests.evaluation.measure.runs import few_trainings


@pytest.fixture(autouse=True)
def _few_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    few_trainings(monkeypatch)
