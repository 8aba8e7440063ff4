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

TRIALS, SEEDS, MARGIN = 24, range(6), 0.15


@pytest.mark.slow  # 72 proposals, a minute
def test_the_search_finds_more_hypervolume_than_random_search_in_as_many_trials() -> None:
    """By at least 0.15 of all there is, in the mean over seeds, and by something in most: a draw may be lucky."""
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
    assert fmean(searched) >= fmean(drawn) + MARGIN, (searched, drawn)
    ahead = sum(ours > chance for ours, chance in zip(searched, drawn, strict=True))
    assert ahead > len(SEEDS) / 2, (searched, drawn)
