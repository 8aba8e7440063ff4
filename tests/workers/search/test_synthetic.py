"""The synthetic problem that searches are measured on: its optimum is what it says, its noise is replayable."""

from __future__ import annotations

import pytest

from benchmarks.synthetic import BASE_LOSS, BASE_ROUGE_L, SyntheticProblem
from workers.search.space import SearchSpace


@pytest.mark.parametrize("seed", [0, 1])
def test_the_whole_space_has_the_hypervolume_that_counts_as_all_there_is(seed: int) -> None:
    # Two layers of eight do not matter, so this looks at points that the short cut leaves out.
    problem = SyntheticProblem(SearchSpace(8, 64), seed)
    assert problem.share_found(list(problem.space.trained_points())) == pytest.approx(1.0)


def test_the_base_scores_as_the_reference_and_finds_nothing() -> None:
    problem = SyntheticProblem(SearchSpace(8, 64), seed=0)
    truth = problem.truth(problem.space.base)
    assert (truth.loss, truth.rouge_l) == (BASE_LOSS, BASE_ROUGE_L)
    assert problem.share_found([problem.space.base]) == 0


def test_observing_a_configuration_again_gives_the_same_noisy_scores() -> None:
    problem = SyntheticProblem(SearchSpace(8, 64), seed=0)
    point = next(problem.space.trained_points())
    assert problem.observe(point) == problem.observe(point)
    assert problem.observe(point).loss != problem.truth(point).loss
