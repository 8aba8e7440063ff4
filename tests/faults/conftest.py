"""Fixtures of the faults: a source of random moments that can be repeated, and where figures are kept."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.figures import Figures


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    """Those of the run; of a test that is run by itself, nobody keeps them."""
    kept = (plugin for plugin in pytestconfig.pluginmanager.get_plugins() if isinstance(plugin, Figures))
    found = next(kept, None) or Figures()
    print(found.pytest_report_header())
    return found


@pytest.fixture
def moments(figures: Figures, request: pytest.FixtureRequest) -> random.Random:
    """Random as the run's seed and the test's name say."""
    return random.Random(f"{figures.seed} {request.node.name}")
