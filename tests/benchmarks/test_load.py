"""The load's own arithmetic, and that its users ask for what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.main import create_app
from app.settings import Settings
from benchmarks.load.watching import slope_per_minute
from tests.support.routes import operations

CROWD = Path(__file__).resolve().parents[2] / "benchmarks" / "load" / "crowd.py"


def test_the_slope_is_that_of_the_line_nearest_to_the_points() -> None:
    assert slope_per_minute([(0.0, 100.0), (30.0, 101.0), (60.0, 102.0)]) == pytest.approx(2.0)
    assert slope_per_minute([(0.0, 100.0), (30.0, 130.0), (60.0, 100.0)]) == pytest.approx(0.0)
    assert slope_per_minute([(60.0, 5.0)]) == 0.0


def test_the_crowd_asks_for_routes_that_there_are() -> None:
    """What is refused as not there would count as an error of the service only after minutes."""
    text = CROWD.read_text(encoding="utf-8")
    asked = {re.sub(r"\{self\.(user|job)\}", r"{\1_id}", path) for path in re.findall(r'f?"(/v1/[^"?]+)', text)}
    known = {name.split()[1] for name, _ in operations(create_app(Settings(_env_file=None)).openapi())}
    assert len(asked) >= 6
    assert asked <= known
