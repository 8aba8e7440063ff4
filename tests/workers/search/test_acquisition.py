"""Search over the discrete space for the best score, with scores simple enough to know the answer."""

from __future__ import annotations

import random
from collections.abc import Sequence

from engine.configuration import Configuration
from workers.search.acquisition import SMALL_SPACE, Score, best_point
from workers.search.space import SearchSpace

LARGE, SMALL = SearchSpace(16, 256), SearchSpace(3, 64)


def _closeness_to(target: Configuration) -> Score:
    """Minus the number of layers that differ, minus how far the total rank is off."""

    def score(points: Sequence[Configuration]) -> list[float]:
        return [
            -sum(a != b for a, b in zip(point.layers, target.layers, strict=True))
            - abs(point.total_rank - target.total_rank) / 1000
            - abs(point.r - target.r) / 10000
            for point in points
        ]

    return score


def test_the_local_search_climbs_to_the_best_point_of_a_large_space() -> None:
    assert LARGE.trained_count > SMALL_SPACE
    target = Configuration.from_bits("1000000100000110", 3, 32)
    assert best_point(LARGE, _closeness_to(target), {LARGE.base}, [], random.Random(0)) == target


def test_a_taken_point_is_passed_by_for_the_next_best() -> None:
    target = Configuration.from_bits("1000000100000110", 3, 32)
    point = best_point(LARGE, _closeness_to(target), {target}, [], random.Random(0))
    assert point is not None
    assert point != target
    assert (point.layers, point.total_rank) == (target.layers, target.total_rank)


def test_a_small_space_is_looked_at_as_a_whole() -> None:
    assert SMALL.trained_count <= SMALL_SPACE
    looked_at: list[Configuration] = []

    def score(points: Sequence[Configuration]) -> list[float]:
        looked_at.extend(points)
        return [float(point.total_rank == 40) for point in points]

    point = best_point(SMALL, score, set(), [], random.Random(0))
    assert point is not None
    assert point.total_rank == 40
    assert set(looked_at) == set(SMALL.trained_points())


def test_nothing_is_left_of_a_space_that_is_taken() -> None:
    score = _closeness_to(Configuration.from_bits("111", 1, 8))
    assert best_point(SMALL, score, set(SMALL.trained_points()), [], random.Random(0)) is None


def test_the_same_random_numbers_find_the_same_point_also_among_ties() -> None:
    def score(points: Sequence[Configuration]) -> list[float]:
        return [0.0] * len(points)

    near = [Configuration.default_lora(16)]
    found = {best_point(LARGE, score, set(), near, random.Random(7)) for _ in range(3)}
    assert len(found) == 1
