"""Hypervolume and its reference point, on cases small enough to do by hand and against counting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.search.scores import seen, seen_base
from workers.search.observations import Observation
from workers.search.pareto import hypervolume, reference_point

scores = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=12)


def _observations(pairs: list[tuple[int, int]]) -> list[Observation]:
    return [seen(loss, rouge_l) for loss, rouge_l in pairs]


def test_the_hypervolume_of_two_steps_is_the_area_of_both() -> None:
    # Reference (4, 1): a rectangle of 3 x 4 from (1, 5), and above it one of 2 x 2 from (2, 7).
    assert hypervolume(_observations([(1, 5), (2, 7), (3, 6)]), (4, 1)) == pytest.approx(3 * 4 + 2 * 2)


def test_points_not_better_than_the_reference_in_both_objectives_add_nothing() -> None:
    assert hypervolume(_observations([(4, 9), (1, 1), (5, 0)]), (4, 1)) == 0
    assert hypervolume([], (4, 1)) == 0


@given(scores)
def test_the_hypervolume_counts_the_unit_squares_that_are_dominated(pairs: list[tuple[int, int]]) -> None:
    squares = sum(
        any(loss <= x and rouge_l >= y + 1 for loss, rouge_l in pairs if loss < 7 and rouge_l > 1)
        for x in range(7)
        for y in range(1, 9)
    )
    assert hypervolume(_observations(pairs), (7, 1)) == pytest.approx(squares)


@given(scores, st.tuples(st.integers(0, 8), st.integers(0, 8)))
def test_another_point_never_makes_the_hypervolume_smaller(
    pairs: list[tuple[int, int]], further: tuple[int, int]
) -> None:
    assert hypervolume(_observations([*pairs, further]), (6, 2)) >= hypervolume(_observations(pairs), (6, 2))


def test_the_reference_is_the_base_wherever_it_stands() -> None:
    assert reference_point([seen(9, 0), seen_base(3, 10), seen(1, 20)]) == (3, 10)


def test_without_the_base_the_reference_is_the_worst_of_each_objective() -> None:
    assert reference_point([seen(9, 5), seen(3, 2)]) == (9, 2)
    with pytest.raises(ValueError, match="at least one"):
        reference_point([])
