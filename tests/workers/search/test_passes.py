"""The number of passes that serves a user: the most after which the trials answer as well as any, on average."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.search.passes import best_passes

_scores = st.integers(0, 100)
_curves = st.integers(1, 5).flatmap(
    lambda passes: st.lists(st.lists(_scores, min_size=passes, max_size=passes), min_size=1, max_size=6)
)


def test_the_mean_over_all_trials_decides_and_no_single_one() -> None:
    # The best answer of all comes after one pass, and half of the trials are at their best after three.
    assert best_passes([[90.0, 10.0, 10.0], [10.0, 59.0, 20.0], [20.0, 60.0, 61.0], [20.0, 60.0, 61.0]]) == 2


def test_a_trial_that_is_the_only_one_decides_alone() -> None:
    assert best_passes([[10.0, 12.0, 11.0]]) == 2
    assert best_passes([[10.0]]) == 1


def test_of_passes_that_serve_nearly_alike_the_most_are_chosen() -> None:
    assert best_passes([[5.0, 7.0, 7.0, 7.0]]) == 4
    assert best_passes([[5.0, 7.0], [7.0, 5.0]]) == 2
    assert best_passes([[10.0, 20.0, 18.0, 19.0]]) == 4
    assert best_passes([[10.0, 20.0, 19.5, 18.9]]) == 3
    assert best_passes([[0.0, 0.0]]) == 2


@given(_curves)
def test_the_chosen_number_lacks_at_most_a_twentieth_of_the_best_and_every_larger_one_more(
    curves: list[list[float]],
) -> None:
    sums = [sum(after) for after in zip(*curves, strict=True)]
    chosen = best_passes(curves)
    assert 20 * sums[chosen - 1] >= 19 * max(sums)
    assert all(20 * later <= 19 * max(sums) for later in sums[chosen:])


@given(_curves, st.randoms(use_true_random=False))
def test_the_order_of_the_trials_does_not_count(curves: list[list[float]], random: object) -> None:
    mixed = list(curves)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert best_passes(mixed) == best_passes(curves)


@pytest.mark.parametrize("curves", [[], [[]], [[], []], [[1.0, 2.0], [1.0]], [[1.0], [1.0, 2.0]]])
def test_trials_that_did_not_all_make_the_same_passes_are_not_compared(curves: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="all made the same number"):
        best_passes(curves)
