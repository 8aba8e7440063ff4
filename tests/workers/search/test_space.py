"""The search space: what is in it, what is next to what, and how a surrogate sees it."""

from __future__ import annotations

import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.configuration import RANKS, Configuration
from workers.search.space import AXES, SearchSpace, default_max_total_rank

spaces = st.builds(
    SearchSpace,
    n_layers=st.integers(1, 7),
    max_total_rank=st.integers(8, 200),
    ranks=st.sets(st.sampled_from(RANKS)).map(lambda extra: tuple(sorted({8, *extra}))),
    max_loras=st.integers(1, 32),
    search_layers=st.booleans(),
)
seeds = st.integers(0, 2**31 - 1)


@pytest.mark.parametrize(("hidden", "largest"), [(320, 160), (1023, 511), (1024, 512), (4096, 512)])
def test_the_default_total_rank_is_half_the_hidden_size_and_at_most_512(hidden: int, largest: int) -> None:
    assert default_max_total_rank(hidden) == largest


def test_the_sizes_are_every_pair_whose_product_fits() -> None:
    space = SearchSpace(n_layers=3, max_total_rank=32)
    assert space.sizes == ((1, 8), (2, 8), (3, 8), (4, 8), (1, 16), (2, 16), (1, 32))


def test_a_space_counts_its_points() -> None:
    space = SearchSpace(n_layers=3, max_total_rank=32)
    points = list(space.trained_points())
    assert len(points) == len(set(points)) == space.trained_count == 7 * 7
    assert all(space.contains(point) and not point.is_base for point in points)


def test_where_layers_are_not_searched_all_of_them_are_active_in_every_point() -> None:
    space = SearchSpace(n_layers=3, max_total_rank=32, search_layers=False)
    points = list(space.trained_points())
    assert space.trained_count == len(points) == 7
    assert all(all(point.layers) for point in points)
    assert all(space.random(random.Random(seed)).layers == (True, True, True) for seed in range(5))
    assert set(space.neighbours(points[0])) == set(points[1:])
    assert not space.contains(Configuration.from_bits("101", 1, 8))


def test_the_base_is_one_point_only() -> None:
    space = SearchSpace(n_layers=3, max_total_rank=32)
    assert space.contains(Configuration.base(3))
    assert not space.contains(Configuration.from_bits("000", 1, 8))
    assert not space.contains(Configuration.from_bits("101", 0, 8))
    assert not space.contains(Configuration.from_bits("000", 0, 16))


@pytest.mark.parametrize(
    ("bits", "n", "r"), [("1010", 1, 8), ("101", 5, 8), ("101", 1, 64), ("101", 1, 9), ("101", 33, 8)]
)
def test_what_has_other_layers_ranks_or_too_large_a_stack_is_not_in_the_space(bits: str, n: int, r: int) -> None:
    assert not SearchSpace(n_layers=3, max_total_rank=32).contains(Configuration.from_bits(bits, n, r))


def test_a_total_rank_below_the_smallest_rank_leaves_the_base_alone() -> None:
    space = SearchSpace(n_layers=3, max_total_rank=7)
    assert not space.trains_something
    assert space.trained_count == 0
    assert list(space.trained_points()) == []
    assert space.neighbours(space.base) == []
    with pytest.raises(ValueError, match="fits a total rank of 7"):
        space.random(random.Random(0))


@pytest.mark.parametrize("wrong", [{"n_layers": 0}, {"max_loras": 0}, {"ranks": ()}, {"ranks": (0, 8)}])
def test_a_space_without_layers_ranks_or_loras_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        SearchSpace(**({"n_layers": 2, "max_total_rank": 32} | wrong))  # type: ignore[arg-type]


@given(spaces, seeds)
def test_a_random_point_is_in_the_space_and_trains_something(space: SearchSpace, seed: int) -> None:
    point = space.random(random.Random(seed))
    assert space.contains(point)
    assert not point.is_base
    assert point.total_rank <= space.max_total_rank
    assert point == space.random(random.Random(seed))


def test_random_points_have_every_number_of_layers_about_equally_often() -> None:
    space, rng = SearchSpace(n_layers=4, max_total_rank=64), random.Random(0)
    counts = [0] * 5
    for _ in range(4000):
        counts[len(space.random(rng).active_layers)] += 1
    assert counts[0] == 0
    assert all(900 < count < 1100 for count in counts[1:])


@given(spaces, seeds)
def test_neighbours_are_distinct_other_points_of_the_space(space: SearchSpace, seed: int) -> None:
    point = space.random(random.Random(seed))
    neighbours = space.neighbours(point)
    assert len(set(neighbours)) == len(neighbours)
    assert point not in neighbours
    assert all(space.contains(neighbour) and not neighbour.is_base for neighbour in neighbours)


@given(spaces, seeds)
def test_being_neighbours_is_mutual(space: SearchSpace, seed: int) -> None:
    point = space.random(random.Random(seed))
    assert all(point in space.neighbours(neighbour) for neighbour in space.neighbours(point))


def test_every_trained_point_can_be_reached_over_neighbours_from_the_base() -> None:
    space = SearchSpace(n_layers=4, max_total_rank=32)
    reached: set[Configuration] = set()
    edge = {space.base}
    while edge:
        edge = {neighbour for point in edge for neighbour in space.neighbours(point)} - reached
        reached |= edge
    assert reached == set(space.trained_points())


def test_the_neighbours_of_a_point_are_flips_moves_and_other_sizes() -> None:
    space = SearchSpace(n_layers=2, max_total_rank=16)
    neighbours = {str(point) for point in space.neighbours(Configuration.from_bits("10", 1, 8))}
    assert neighbours == {"layers=11 n=1 r=8", "layers=01 n=1 r=8", "layers=10 n=2 r=8", "layers=10 n=1 r=16"}


def test_the_encoding_is_the_shape_of_a_stack_and_narrow_layer_bits() -> None:
    space = SearchSpace(n_layers=3, max_total_rank=64, ranks=(8, 16, 32))
    points = [Configuration.from_bits("011", 1, 8), Configuration.from_bits("111", 4, 16), space.base]
    # Layers 1 and 2 of 0..2 have the mean place 3/4. All parameters: log(1 + 2 * 8) / log(1 + 3 * 64).
    # Of n * r: log(2 * 8 / 8) / log(2 * 64 / 8) = 1/4, and 1 for 64; of r: log 2 / log 4 = 1/2 for 16.
    shapes = [
        [2 / 3, 0.5, 1, 0.75, math.log(17) / math.log(193), 0.25, 0],
        [1, 0, 1, 0.5, 1, 1, 0.5],
        [0, 0.5, 0.5, 0.5, 0, 0, 0],
    ]
    bits = [[0, 0.25, 0.25], [0.25, 0.25, 0.25], [0, 0, 0]]
    expected = torch.tensor([shape + bit for shape, bit in zip(shapes, bits, strict=True)], dtype=torch.float64)
    torch.testing.assert_close(space.encode(points), expected)


@given(spaces)
def test_an_encoding_lies_in_the_unit_cube_and_tells_all_points_apart(space: SearchSpace) -> None:
    small = SearchSpace(min(space.n_layers, 3), space.max_total_rank, space.ranks, space.max_loras)
    points = [small.base, *small.trained_points()]
    encoded = small.encode(points)
    assert encoded.shape == (len(points), len(AXES) + small.n_layers)
    assert encoded.dtype == torch.float64
    assert ((encoded >= 0) & (encoded <= 1 + 1e-12)).all()
    assert len(torch.unique(encoded, dim=0)) == len(points)


def test_nothing_encodes_to_no_rows() -> None:
    assert SearchSpace(n_layers=3, max_total_rank=32).encode([]).shape == (0, len(AXES) + 3)
