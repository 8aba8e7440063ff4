"""The initial design."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.configuration import Configuration
from workers.search.initial import initial_design
from workers.search.space import SearchSpace


def test_the_default_lora_comes_first() -> None:
    design = initial_design(SearchSpace(12, 160), 8, seed=3)
    assert design[0] == Configuration.default_lora(12)
    assert len(design) == 8


def test_the_default_lora_is_left_out_where_it_does_not_fit() -> None:
    design = initial_design(SearchSpace(4, 8), 5, seed=3)
    assert len(design) == 5
    assert Configuration.default_lora(4) not in design


@given(layers=st.integers(1, 6), total_rank=st.integers(0, 64), count=st.integers(0, 40), seed=st.integers(0, 2**31))
def test_a_design_has_distinct_points_of_the_space_and_never_the_base(
    layers: int, total_rank: int, count: int, seed: int
) -> None:
    space = SearchSpace(layers, total_rank)
    design = initial_design(space, count, seed)
    assert len(design) == len(set(design)) == min(count, space.trained_count)
    assert all(space.contains(point) and not point.is_base for point in design)


def test_the_same_seed_gives_the_same_design_and_another_seed_another() -> None:
    space = SearchSpace(12, 160)
    assert initial_design(space, 20, seed=1) == initial_design(space, 20, seed=1)
    assert initial_design(space, 20, seed=1)[1:] != initial_design(space, 20, seed=2)[1:]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_design_varies_sparsity_rank_and_leaves_each_layer_off_and_on(seed: int) -> None:
    design = initial_design(SearchSpace(12, 160), 33, seed)[1:]
    sparsity = [len(point.active_layers) for point in design]
    assert min(sparsity) <= 2
    assert max(sparsity) >= 11
    assert {point.r for point in design} == {8, 16, 32, 64, 96}
    for layer in range(12):
        assert 8 <= sum(point.layers[layer] for point in design) <= 26
