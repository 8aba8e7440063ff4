"""Which two answers are set against each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.judge.answers import pairs_of, read_answers
from tests.evaluation.made import keep_answers

MILP_BASE = [("milp", "base")]


def test_a_method_without_that_seed_is_paired_by_its_own(tmp_path: Path) -> None:
    keep_answers(tmp_path, "u0", "milp", ["seed 1"], seed=1)
    keep_answers(tmp_path, "u0", "base", ["base"], seed=0)
    keep_answers(tmp_path, "u0", "milp", ["variant"], seed=1, variant="epochs=6")
    (pair,) = pairs_of(read_answers(tmp_path), MILP_BASE)
    assert (pair.seed, pair.answers) == (1, ("seed 1", "base"))


def test_few_samples_of_a_user_are_spread_over_the_test_part(tmp_path: Path) -> None:
    keep_answers(tmp_path, "u0", "milp", [str(number) for number in range(9)])
    keep_answers(tmp_path, "u0", "base", ["base"] * 9)
    assert [pair.sample for pair in pairs_of(read_answers(tmp_path), MILP_BASE, samples=3)] == [0, 4, 8]
    assert [pair.sample for pair in pairs_of(read_answers(tmp_path), MILP_BASE, samples=1)] == [0]


def test_methods_that_were_asked_different_things_are_not_paired(tmp_path: Path) -> None:
    keep_answers(tmp_path, "u0", "milp", ["one"])
    keep_answers(tmp_path, "u0", "base", ["two"], queries=["something else"])
    with pytest.raises(ValueError, match="different queries"):
        list(pairs_of(read_answers(tmp_path), MILP_BASE))
