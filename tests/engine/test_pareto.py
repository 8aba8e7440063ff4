"""The Pareto front, on cases small enough to do by hand and against counting."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from engine.pareto import pareto_front


class Point(NamedTuple):
    loss: float
    rouge_l: float


points = st.lists(st.builds(Point, st.integers(0, 8), st.integers(0, 8)), max_size=12)


def test_the_front_holds_what_nothing_beats_lowest_loss_first() -> None:
    assert pareto_front([Point(3, 9), Point(1, 5), Point(2, 4), Point(2, 7), Point(3, 8)]) == [1, 3, 0]


def test_nothing_has_an_empty_front_and_one_is_its_own() -> None:
    assert pareto_front([]) == []
    assert pareto_front([Point(1, 1)]) == [0]


def test_equal_points_stay_on_the_front_together() -> None:
    assert pareto_front([Point(1, 5), Point(1, 5), Point(1, 4), Point(2, 5)]) == [0, 1]


@given(points)
def test_the_front_is_exactly_the_points_that_no_other_beats(given_points: list[Point]) -> None:
    def beats(a: Point, b: Point) -> bool:
        return a.loss <= b.loss and a.rouge_l >= b.rouge_l and a != b

    unbeaten = [i for i, p in enumerate(given_points) if not any(beats(other, p) for other in given_points)]
    assert sorted(pareto_front(given_points)) == unbeaten
