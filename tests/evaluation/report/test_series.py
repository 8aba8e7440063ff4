"""The numbers behind the pictures, on rows and searches made by hand."""

from __future__ import annotations

import pytest

from evaluation.report.series import (
    best_so_far,
    by_history,
    front,
    gains,
    layer_shares,
    scored,
    winners_by_trials,
)
from evaluation.rows import Row
from evaluation.statistics import Group, groups
from tests.evaluation.made import row, rows, search, trial


def only(*measured: list[Row]) -> Group:
    (group,) = groups([one for some in measured for one in some])
    return group


def test_gains_are_over_the_best_baseline_the_worst_first() -> None:
    found = gains(only(rows("base", [9.0, 1.0, 5.0]), rows("malp", [1.0, 1.0, 1.0]), rows("milp", [10.0, 8.0, 2.0])))
    assert found is not None
    baseline, users = found
    assert baseline == "base"
    assert [(gain.user, gain.mean) for gain in users] == [("u2", -3.0), ("u0", 1.0), ("u1", 7.0)]
    assert users[0].low is None
    assert gains(only(rows("milp", [1.0]))) is None


def test_a_gains_interval_is_over_the_users_own_samples_averaged_over_seeds() -> None:
    milp = [
        row("a", "milp", 5.0, seed=seed, per_sample={"rouge_l": scores})
        for seed, scores in enumerate([[2.0, 4.0], [4.0, 10.0]])
    ]
    base = [row("a", "base", 1.0, per_sample={"rouge_l": [1.0, 1.0]})]
    found = gains(only(milp, base))
    assert found is not None
    (gain,) = found[1]
    # Samples' gains are (2 + 4) / 2 - 1 = 2 and (4 + 10) / 2 - 1 = 6: resamples of two lie between.
    assert (gain.low, gain.mean, gain.high) == (2.0, 4.0, 6.0)


def test_samples_that_do_not_fit_together_give_no_interval() -> None:
    milp = [row("a", "milp", 5.0, per_sample={"rouge_l": [1.0, 2.0]})]
    base = [row("a", "base", 1.0, per_sample={"rouge_l": [1.0]})]
    found = gains(only(milp, base))
    assert found is not None
    assert found[1][0].low is None


TRIALS = [
    trial("000", 5.0, 4.0, "base"),
    trial("100", None, None),
    trial("110", 3.0, 9.0),
    trial("111", 2.0, 6.0),
    trial("011", 4.0, 8.0),
]


def test_failed_trials_are_not_scored_and_the_front_has_whom_nobody_beats() -> None:
    points = scored(search("a", TRIALS, 2))
    assert [point.number for point in points] == [0, 2, 3, 4]
    assert [point.is_base for point in points] == [True, False, False, False]
    assert [point.number for point in front(points)] == [3, 2]


def test_the_best_so_far_never_falls_and_is_a_mean_over_users() -> None:
    other = [trial("000", 5.0, 2.0, "base"), trial("100", 4.0, 1.0), trial("010", 4.0, 3.0)]
    found = best_so_far([search("a", TRIALS, 2), search("b", other, 2), search("b", other, 2, seed=1)])
    assert [(number, mean.mean, mean.users) for number, mean in found] == [(1.0, 3.0, 2), (2.0, 3.0, 2), (3.0, 6.0, 2)]
    assert best_so_far([]) == []


def test_the_best_so_far_begins_where_every_search_has_a_score() -> None:
    late = [trial("100", None, None), trial("010", 4.0, 3.0)]
    assert [number for number, _ in best_so_far([search("a", late, 1), search("b", TRIALS, 2)])] == [2.0]


def test_winners_are_placed_by_the_trials_that_were_really_made_over_the_users_who_have_all() -> None:
    group = only(
        rows("milp", [10.0, 20.0, 99.0], trials=24),
        rows("milp", [8.0, 10.0], trials=12, variant="trials=12"),
        rows("milp", [1.0, 1.0], trials=24, variant="epochs=6"),
    )
    assert [(trials, mean.mean) for trials, mean in winners_by_trials(group, "milp")] == [(12.0, 9.0), (24.0, 15.0)]
    assert winners_by_trials(group, "random") == []


def test_quality_by_history_is_over_the_users_that_have_all_parts() -> None:
    group = only(
        rows("milp", [10.0, 20.0, 90.0]),
        rows("milp", [6.0, 8.0], variant="history=0.25"),
        rows("milp", [2.0, 4.0, 90.0], variant="history=0.1"),
        rows("base", [1.0, 1.0, 1.0]),
    )
    found = by_history(group)
    assert list(found) == ["milp"]
    assert [(share, mean.mean, mean.users) for share, mean in found["milp"]] == [
        (10.0, 3.0, 2),
        (25.0, 7.0, 2),
        (100.0, 15.0, 2),
    ]
    assert by_history(only(rows("milp", [1.0]))) == {}


def test_quality_by_history_is_over_the_seeds_that_have_all_parts() -> None:
    group = only(
        [row("u0", "milp", 10.0), row("u0", "milp", 90.0, seed=1)],
        rows("milp", [6.0], variant="history=0.25"),
    )
    assert [mean.mean for _, mean in by_history(group)["milp"]] == [6.0, 10.0]
    parts = only(rows("milp", [6.0], variant="history=0.25"), rows("milp", [4.0], variant="history=0.1"))
    assert [mean.mean for _, mean in by_history(parts)["milp"]] == [4.0, 6.0]
    of_unlike_seeds = only([row("u0", "milp", 10.0, seed=1)], rows("milp", [6.0], variant="history=0.25"))
    assert by_history(of_unlike_seeds) == {}


def test_layers_shares_count_who_uses_none() -> None:
    assert layer_shares(["110", "100", None, "000"]) == [0.5, 0.25, 0.0]
    assert layer_shares([None]) == []
    assert layer_shares([]) == []
    assert layer_shares(["11", "111"]) == []


@pytest.mark.parametrize("value", ["", "x"])
def test_a_history_that_is_no_number_is_left_out(value: str) -> None:
    assert by_history(only(rows("milp", [1.0]), rows("milp", [1.0], variant=f"history={value}"))) in ({},)
