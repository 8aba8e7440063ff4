"""The load's own arithmetic, and that its users ask for what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.main import create_app
from app.settings import Settings
from benchmarks.load.watching import floor_per_minute, slope
from tests.support.routes import operations

CROWD = Path(__file__).resolve().parents[2] / "benchmarks" / "load" / "crowd.py"


def test_the_slope_is_the_median_of_those_between_any_two_points() -> None:
    assert slope([(0.0, 100.0), (1.0, 102.0), (2.0, 104.0)]) == pytest.approx(2.0)
    assert slope([(0.0, 100.0), (1.0, 102.0), (2.0, 104.0), (3.0, 500.0), (4.0, 108.0)]) == pytest.approx(2.0)
    assert slope([(60.0, 5.0)]) == 0.0


def test_what_is_kept_is_the_least_of_each_whole_minute() -> None:
    points = [(200.0, 500.0), (230.0, 110.0), (259.0, 900.0), (260.0, 300.0), (310.0, 120.0), (321.0, 50.0)]
    assert floor_per_minute(points) == [(0.0, 110.0), (1.0, 120.0)]


def test_the_crowd_asks_for_routes_that_there_are() -> None:
    """What is refused as not there would count as an error of the service only after minutes."""
    text = CROWD.read_text(encoding="utf-8")
    asked = {re.sub(r"\{self\.(user|job)\}", r"{\1_id}", path) for path in re.findall(r'f?"(/v1/[^"?]+)', text)}
    known = {name.split()[1] for name, _ in operations(create_app(Settings(_env_file=None)).openapi())}
    assert len(asked) >= 6
    assert asked <= known
