"""What rows say about a set, on numbers that can be worked out by hand."""

from __future__ import annotations

import itertools
import math
import operator

import pytest

from evaluation.names import LOSS, ROUGE_L
from evaluation.rows import Row
from evaluation.statistics import (
    Group,
    best_baseline,
    compare,
    compared,
    estimate,
    gate_record,
    groups,
    improvement,
    per_user,
)
from tests.evaluation.made import row, rows


def only(*measured: list[Row]) -> Group:
    (group,) = groups([row for some in measured for row in some])
    return group


def test_rows_are_grouped_by_set_and_base() -> None:
    made = [row("a", "base", 1.0, set=name, base=base) for name, base in (("s2", "x"), ("s1", "y"), ("s1", "x"))]
    assert [(group.name, group.base, len(group.rows)) for group in groups(made)] == [
        ("s1", "x", 1),
        ("s1", "y", 1),
        ("s2", "x", 1),
    ]


def test_seeds_of_a_user_are_averaged_before_users_are() -> None:
    made = [row("a", "milp", score, seed=seed) for seed, score in enumerate((10.0, 20.0, 30.0))] + [
        row("b", "milp", 4.0)
    ]
    scores = per_user(made, "milp", "rouge_l")
    assert scores == {"a": 20.0, "b": 4.0}
    found = estimate(scores)
    assert found is not None
    assert (found.mean, found.users) == (12.0, 2)  # not the mean of the four rows, 16


def test_a_users_score_is_of_one_method_one_variant_and_finite_numbers() -> None:
    made = [
        row("a", "milp", 10.0),
        row("a", "milp", math.nan, seed=1),
        row("a", "milp", 99.0, variant="space=num"),
        row("a", "base", 99.0),
        row("b", "milp", math.inf),
    ]
    assert per_user(made, "milp", "rouge_l") == {"a": 10.0}
    assert per_user(made, "milp", "rouge_l", "space=num") == {"a": 99.0}


def test_the_interval_of_a_mean_lies_within_the_users_scores_and_around_the_mean() -> None:
    found = estimate({"a": 0.0, "b": 10.0, "c": 20.0})
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert 0.0 <= found.low < found.mean == 10.0 < found.high <= 20.0


def test_one_user_has_a_mean_and_no_interval_and_nobody_has_nothing() -> None:
    found = estimate({"a": 3.0})
    assert found is not None
    assert (found.mean, found.low, found.high) == (3.0, None, None)
    assert estimate({}) is None


def test_a_comparison_is_over_the_users_that_both_have() -> None:
    found = compare({"a": 12.0, "b": 6.0, "only": 99.0}, {"a": 10.0, "b": 5.0, "other": 1.0})
    assert found is not None
    assert (found.users, found.a, found.b, found.difference) == (2, 9.0, 7.5, 1.5)
    assert found.relative == pytest.approx(20.0)  # 9 / 7.5
    assert compare({"a": 1.0}, {"b": 1.0}) is None


def test_relative_improvement_is_of_the_means_and_not_the_mean_of_the_users() -> None:
    found = compare({"a": 2.0, "b": 12.0}, {"a": 1.0, "b": 11.0})
    assert found is not None
    assert found.relative == pytest.approx(100 * (14 / 12 - 1))  # the users' own would average to 54.5
    assert found.relative_low == pytest.approx(100 * (12 / 11 - 1))  # b twice, the least there is of four resamples
    assert found.relative_high == pytest.approx(100.0)  # a twice


def test_the_permutation_test_of_few_users_is_exact() -> None:
    won_by_all = compare({"a": 2.0, "b": 3.0, "c": 4.0}, {"a": 1.0, "b": 1.0, "c": 1.0})
    assert won_by_all is not None
    assert won_by_all.p == pytest.approx(2 / 8)  # of 8 ways to flip three signs, 2 are as far from zero
    mixed = compare({"a": 2.0, "b": 0.0}, {"a": 1.0, "b": 1.0})
    assert mixed is not None
    assert mixed.p == 1.0


def flips_as_far_from_zero(differences: list[float]) -> float:
    """Share of all ways to flip the signs whose sum is at least as far from zero, counted one by one."""
    observed = abs(sum(differences))
    ways = [sum(map(operator.mul, signs, differences)) for signs in itertools.product((1, -1), repeat=len(differences))]
    return sum(abs(way) >= observed - 1e-9 for way in ways) / len(ways)


def test_the_permutation_test_is_exact_up_to_thirteen_users_and_near_it_beyond() -> None:
    differences = [((7 * place) % 11 - 3) / 2 for place in range(14)]
    for users, within in ((13, 1e-12), (14, 0.01)):
        some = {f"u{place:02}": value for place, value in enumerate(differences[:users])}
        found = compare(some, dict.fromkeys(some, 0.0))
        assert found is not None
        assert found.p == pytest.approx(flips_as_far_from_zero(differences[:users]), abs=within)


def test_the_interval_of_a_mean_is_that_of_all_resamples_of_the_users() -> None:
    scores = {"a": 1.0, "b": 2.0, "c": 4.0, "d": 8.0, "e": 16.0}
    means = sorted(sum(drawn) / 5 for drawn in itertools.product(scores.values(), repeat=5))
    low, high = means[int(0.025 * len(means))], means[int(0.975 * len(means))]
    found = estimate(scores)
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(low, abs=0.3), pytest.approx(high, abs=0.3))


def test_two_methods_are_compared_on_the_seeds_that_both_have_and_a_baseline_has_every_seed() -> None:
    milp = [row("u0", "milp", score, seed=seed) for seed, score in enumerate((4.0, 10.0, 13.0))]
    group = only(milp, rows("default_lora", [3.0]), rows("base", [2.0]), rows("milp", [5.0], variant="epochs=2"))
    on_one_seed, on_all = (compared(group, "milp", other, ROUGE_L) for other in ("default_lora", "base"))
    assert on_one_seed is not None
    assert on_all is not None
    assert (on_one_seed.a, on_one_seed.b, on_one_seed.difference) == (4.0, 3.0, 1.0)
    assert (on_all.a, on_all.b) == (9.0, 2.0)
    varied = compared(group, "milp", "milp", ROUGE_L, "epochs=2", "")
    assert varied is not None
    assert (varied.a, varied.b) == (5.0, 4.0)
    other_seed = only(milp[1:], rows("default_lora", [3.0]))
    assert compared(other_seed, "milp", "default_lora", ROUGE_L) is None


def test_a_baseline_without_a_user_of_milps_does_not_hide_the_others() -> None:
    group = only(rows("milp", [5.0]), rows("base", [4.0]), [row("u9", "malp", 9.0)])
    found = improvement(group, ROUGE_L)
    assert found is not None
    assert found.baseline == "base"


def test_won_tied_and_lost_go_by_what_is_better() -> None:
    a, b = {"a": 2.0, "b": 1.0, "c": 0.1 + 0.2, "d": 5.0}, {"a": 1.0, "b": 2.0, "c": 0.3, "d": 1.0}
    more, less = compare(a, b), compare(a, b, better=-1)
    assert more is not None
    assert less is not None
    assert (more.won, more.tied, more.lost) == (2, 1, 1)
    assert (less.won, less.tied, less.lost) == (1, 1, 2)
    assert less.difference == more.difference


def test_methods_that_score_alike_differ_by_nothing_with_certainty() -> None:
    found = compare({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.0})
    assert found is not None
    assert (found.difference, found.low, found.high, found.p, found.tied) == (0.0, 0.0, 0.0, 1.0, 2)


def test_a_baseline_of_zero_has_no_relative_improvement_and_one_that_may_be_zero_no_interval() -> None:
    none, may_be = (
        compare({"a": 1.0, "b": 1.0}, {"a": 0.0, "b": 0.0}),
        compare({"a": 1.0, "b": 1.0}, {"a": 0.0, "b": 1.0}),
    )
    assert none is not None
    assert (none.relative, none.relative_low) == (None, None)
    assert may_be is not None
    assert (may_be.relative, may_be.relative_low, may_be.relative_high) == (100.0, None, None)


def test_one_user_is_compared_without_interval_or_p() -> None:
    found = compare({"a": 3.0}, {"a": 2.0})
    assert found is not None
    assert (found.difference, found.relative) == (1.0, 50.0)
    assert (found.low, found.high, found.relative_low, found.p) == (None, None, None, None)


def test_the_best_baseline_is_the_one_with_the_best_mean() -> None:
    group = only(rows("base", [9.0, 1.0]), rows("dictionary_memory", [4.0, 8.0]), rows("milp", [9.0, 9.0]))
    assert best_baseline(group, ROUGE_L) == "dictionary_memory"
    found = improvement(group, ROUGE_L)
    assert found is not None
    assert found.baseline == "dictionary_memory"
    assert found.comparison.relative == pytest.approx(50.0)  # 9 against 6
    assert (found.comparison.won, found.comparison.lost) == (2, 0)


def test_the_best_baseline_of_a_loss_has_the_lowest() -> None:
    made = [row("a", method, 1.0, loss=loss) for method, loss in (("base", 4.0), ("malp", 3.0), ("milp", 2.0))]
    found = improvement(only(made), LOSS)
    assert found is not None
    assert (found.baseline, found.comparison.won) == ("malp", 1)


def test_the_best_baseline_is_chosen_on_the_users_that_all_have() -> None:
    # Over everybody the base would be best; u2, who lifts it, was not measured with the others.
    group = only(rows("base", [1.0, 1.0, 90.0]), rows("malp", [2.0, 2.0]), rows("milp", [3.0, 3.0]))
    assert best_baseline(group, ROUGE_L) == "malp"


def test_without_baseline_or_without_milp_there_is_no_improvement() -> None:
    assert improvement(only(rows("milp", [1.0])), ROUGE_L) is None
    assert improvement(only(rows("base", [1.0])), ROUGE_L) is None


def test_two_methods_of_a_group_are_compared_within_one_variant() -> None:
    group = only(rows("milp", [5.0, 7.0]), rows("random", [4.0, 4.0]), rows("milp", [90.0], variant="epochs=6"))
    found = compared(group, "milp", "random", ROUGE_L)
    assert found is not None
    assert found.difference == 2.0


def gated() -> Group:
    """Five cells: MiLP above, above but held back, below and held back, below but activated, the same."""
    milp = [
        row(f"u{number}", "milp", score, activated=activated)
        for number, (score, activated) in enumerate(
            [(9.0, True), (9.0, False), (1.0, False), (4.0, True), (5.0, True)],
        )
    ]
    return only(milp, rows("base", [3.0] * 5), rows("dictionary_memory", [5.0] * 5), rows("malp", [2.0] * 5))


def test_the_gates_record_counts_whom_it_held_back_and_whom_it_should_not_have() -> None:
    record = gate_record(gated())
    assert record is not None
    assert (record.cells, record.activated) == (5, 3)
    assert (record.worse, record.worse_held_back, record.share) == (2, 1, 0.5)
    assert (record.better, record.better_held_back) == (2, 1)


def test_where_the_base_won_the_gate_had_nothing_to_hold_back() -> None:
    base_won = row("a", "milp", 1.0, activated=False, trial=0)
    held_back = row("b", "milp", 1.0, activated=False, trial=3)
    record = gate_record(only([base_won, held_back, row("a", "malp", 9.0), row("b", "malp", 9.0)]))
    assert record is not None
    assert (record.cells, record.worse, record.worse_held_back) == (1, 1, 1)


def test_the_gate_is_judged_against_whom_one_names() -> None:
    record = gate_record(gated(), against=("base", "malp"))
    assert record is not None
    assert record.against == ("base", "malp")
    assert (record.worse, record.worse_held_back, record.share) == (1, 1, 1.0)


def test_a_cell_is_compared_with_its_own_seed_where_there_is_one() -> None:
    milp = [row("a", "milp", 5.0, seed=seed, activated=False) for seed in (0, 1)]
    seeded = [row("a", "base", score, seed=seed) for seed, score in ((0, 4.0), (1, 6.0))]
    record = gate_record(only(milp, seeded))
    assert record is not None
    assert (record.better_held_back, record.worse_held_back) == (1, 1)
    unseeded = gate_record(only(milp, [row("a", "base", 6.0, seed=7)]))
    assert unseeded is not None
    assert unseeded.worse_held_back == 2


def test_a_gate_that_nobody_lost_behind_has_no_share_and_no_gate_no_record() -> None:
    record = gate_record(only(rows("milp", [9.0], activated=True), rows("base", [1.0])))
    assert record is not None
    assert (record.worse, record.share) == (0, None)
    assert gate_record(only(rows("milp", [9.0]), rows("base", [1.0]))) is None
    assert gate_record(only(rows("milp", [9.0], activated=True))) is None


def test_the_seeds_of_a_group_are_those_of_milp() -> None:
    made = [row("a", "milp", 1.0, seed=seed) for seed in (3, 4)] + [row("a", "base", 1.0, seed=0)]
    assert only(made).seeds == {3, 4}
    assert only(rows("base", [1.0])).seeds == {0}
