"""Proposals: valid, new, distinct, and the same for the same arguments."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.synthetic import SyntheticProblem
from engine.configuration import Configuration
from tests.workers.search.scores import seen
from workers.search.initial import initial_design
from workers.search.observations import Observation
from workers.search.proposal import propose, random_points
from workers.search.space import SearchSpace

SPACE = SearchSpace(8, 160)
SMALLER = SearchSpace(6, 64)


def _history(space: SearchSpace, count: int, seed: int = 0) -> list[Observation]:
    problem = SyntheticProblem(space, seed)
    return [problem.observe(point) for point in [space.base, *initial_design(space, count, seed)]]


@pytest.mark.parametrize("kind", ["map_saas", "ensemble_map_saas"])
def test_proposals_are_new_distinct_points_of_the_space(kind: str) -> None:
    observations = _history(SPACE, 8)
    pending = random_points(SPACE, [o.configuration for o in observations], 3, seed=5)
    failed = random_points(SPACE, [*pending, *(o.configuration for o in observations)], 2, seed=6)
    points = propose(SPACE, observations, pending, 4, surrogate=kind, seed=1, failed=failed)
    assert len(points) == len(set(points)) == 4
    assert all(SPACE.contains(point) and not point.is_base for point in points)
    assert set(points).isdisjoint({*pending, *failed, *(o.configuration for o in observations)})


def test_without_a_surrogate_the_points_are_random_whatever_was_observed() -> None:
    observations = _history(SPACE, 8)
    other = [replace(o, rouge_l=100 - o.rouge_l) for o in observations]
    first, second = (propose(SPACE, seen, [], 4, surrogate="random", seed=1) for seen in (observations, other))
    assert first == second == random_points(SPACE, [o.configuration for o in observations], 4, seed=1)
    assert propose(SPACE, other, [], 4, surrogate="map_saas", seed=1) != first


@pytest.mark.slow  # as the next
def test_fully_bayesian_proposals_are_as_valid() -> None:
    observations = _history(SMALLER, 5)
    points = propose(SMALLER, observations, [], 2, surrogate="fully_bayesian_saas", seed=1)
    assert len(set(points)) == 2
    assert all(SMALLER.contains(point) and not point.is_base for point in points)
    assert set(points).isdisjoint(o.configuration for o in observations)


@pytest.mark.slow  # JAX compiles each fit anew: ten seconds a proposal.
def test_fully_bayesian_proposals_replay_exactly() -> None:
    observations = _history(SMALLER, 5)
    first = propose(SMALLER, observations, [], 2, surrogate="fully_bayesian_saas", seed=1)
    assert propose(SMALLER, observations, [], 2, surrogate="fully_bayesian_saas", seed=1) == first


def test_the_same_arguments_give_the_same_proposal_whatever_was_drawn_before() -> None:
    observations = _history(SPACE, 8)
    first = propose(SPACE, observations, [], 3, surrogate="map_saas", seed=4)
    torch.rand(17), random.random(), np.random.default_rng().random()
    torch.manual_seed(999)
    assert propose(SPACE, observations, [], 3, surrogate="map_saas", seed=4) == first


def test_a_proposal_leaves_every_global_random_state_alone() -> None:
    # What a library draws when it is loaded, at a process's first proposal, is not the proposal's.
    propose(SPACE, _history(SPACE, 6), [], 1, surrogate="ensemble_map_saas", seed=3)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=False)
    propose(SPACE, _history(SPACE, 6), [], 2, surrogate="ensemble_map_saas", seed=4)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert str(np.random.get_state(legacy=False)) == str(before[2])


def test_pending_points_change_what_is_proposed_beside_them() -> None:
    observations = _history(SPACE, 8)
    alone = propose(SPACE, observations, [], 1, surrogate="map_saas", seed=4)
    beside = propose(SPACE, observations, alone, 1, surrogate="map_saas", seed=4)
    together = propose(SPACE, observations, [], 2, surrogate="map_saas", seed=4)
    assert beside != alone
    assert together[0] == alone[0]


@pytest.mark.parametrize("observations", [[], [seen(2.0, 12.0, "10000000")]])
def test_with_fewer_than_two_observations_the_points_are_random(observations: list[Observation]) -> None:
    points = propose(SPACE, observations, [], 5, surrogate="map_saas", seed=0)
    assert points == random_points(SPACE, {o.configuration for o in observations}, 5, seed=0)
    assert len(set(points)) == 5


@pytest.mark.parametrize("taken", [46, 49])
def test_a_space_that_is_used_up_gives_fewer_points_or_none(taken: int) -> None:
    space = SearchSpace(3, 32)
    points = list(space.trained_points())
    observations = [seen(3.0 - i / 100, 10.0 + i % 7, p.layer_bits, p.n, p.r) for i, p in enumerate(points[:taken])]
    proposed = propose(space, observations, [], 5, surrogate="map_saas", seed=0)
    assert set(proposed) == set(points[taken:])
    assert len(proposed) == 49 - taken


def test_random_points_too_run_out_and_never_repeat() -> None:
    space = SearchSpace(3, 32)
    points = list(space.trained_points())
    assert set(random_points(space, points[:40], 20, seed=1)) == set(points[40:])
    assert random_points(space, points, 1, seed=1) == []


def test_nothing_is_proposed_in_a_space_of_the_base_alone() -> None:
    space = SearchSpace(3, 4)
    assert propose(space, [], [], 3, surrogate="map_saas", seed=0) == []
    base = Observation(space.base, 3.0, 0.1, 10.0, 1.0, 0)
    assert propose(space, [base], [space.base], 3, surrogate="map_saas", seed=0) == []


def test_asking_for_nothing_gives_nothing() -> None:
    assert propose(SPACE, _history(SPACE, 4), [], 0, surrogate="map_saas", seed=0) == []


def test_scores_that_are_all_alike_still_give_valid_points() -> None:
    alike = [Observation(point, 3.0, 0.0, 0.0, 0.0, 1) for point in initial_design(SPACE, 6, 0)]
    points = propose(SPACE, alike, [], 2, surrogate="map_saas", seed=0)
    assert len(set(points)) == 2
    assert set(points).isdisjoint(o.configuration for o in alike)


def test_nothing_better_than_the_base_still_gives_valid_points() -> None:
    worse = [Observation(SPACE.base, 1.0, 0.01, 50.0, 0.1, 0)]
    worse += [Observation(p, 3.0 + i, 0.1, 5.0 - i / 10, 0.1, 1) for i, p in enumerate(initial_design(SPACE, 7, 0))]
    assert len(propose(SPACE, worse, [], 2, surrogate="map_saas", seed=0)) == 2


def test_the_search_keeps_away_from_where_training_failed() -> None:
    # Large stacks look best as far as they were seen, but all that were larger still have diverged.
    sizes = [size for size in SPACE.sizes if size[1] == 8]
    bits = ["11000000", "11110000", "11111111", "00001111"]
    points = [Configuration.from_bits(bits[i % 4], *size) for i, size in enumerate(sizes)]
    observations = [Observation(SPACE.base, 3.0, 0.01, 10.0, 0.1, 0)]
    observations += [
        Observation(p, 3.0 - p.total_rank / 200, 0.01, 10.0 + p.total_rank / 8, 0.1, 1) for p in points[:9]
    ]
    failed = points[9:]
    unaware = propose(SPACE, observations, [], 4, surrogate="map_saas", seed=0)
    aware = propose(SPACE, observations, [], 4, surrogate="map_saas", seed=0, failed=failed)
    smallest_failed = min(point.total_rank for point in failed)
    assert sum(point.total_rank >= smallest_failed for point in unaware) > sum(
        point.total_rank >= smallest_failed for point in aware
    )


def test_an_unknown_surrogate_is_refused_not_replaced_by_chance() -> None:
    with pytest.raises(ValueError, match="unknown surrogate"):
        propose(SPACE, _history(SPACE, 4), [], 1, surrogate="oracle", seed=0)
