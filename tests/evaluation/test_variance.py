"""Where the variance between trials comes from, on layouts whose parts are known."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from evaluation.replays import searches_of
from evaluation.rows import SearchRecord, append
from evaluation.variance import parts, table


def layout(of_configuration: float, of_rest: float, users: int = 200, configurations: int = 200) -> list[list[float]]:
    """Users of unlike level x configurations, with these standard deviations."""
    rng = random.Random(1)
    shared = [rng.gauss(0, of_configuration) for _ in range(configurations)]
    levels = [rng.uniform(5, 25) for _ in range(users)]
    return [[level + one + rng.gauss(0, of_rest) for one in shared] for level in levels]


def test_both_parts_are_found_whatever_the_users_levels() -> None:
    scores = layout(of_configuration=2.0, of_rest=1.0)
    found = parts(scores, [[0.5] * 200] * 200)
    assert found is not None
    assert found.configuration == pytest.approx(4.0, rel=0.2)
    assert found.rest == pytest.approx(1.0, rel=0.05)
    assert found.share == pytest.approx(0.8, abs=0.04)
    assert found.error == 0.25
    assert found.p < 1e-6


def test_configurations_that_are_all_alike_have_no_part() -> None:
    found = parts(layout(of_configuration=0.0, of_rest=1.0), [[1.0] * 200] * 200)
    assert found is not None
    assert found.share < 0.01
    assert found.p > 0.05


def test_the_moments_are_those_worked_out_by_hand() -> None:
    # Above their users' means: -1, 0, 1 and -2, 0, 2; configurations' means -1.5, 0, 1.5; 2 * 4.5 / 2 between,
    # 4 * 0.25 / 2 of the rest.
    found = parts([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]], [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    assert found is not None
    assert (found.configuration, found.rest, found.error) == pytest.approx((2.0, 0.5, 2.5))
    assert found.p == pytest.approx(0.1)


@pytest.mark.parametrize("scores", [[], [[1.0, 2.0, 4.0]], [[1.0, 2.0], [2.0, 5.0]], [[1.0, 2.0, 3.0]] * 2])
def test_where_nothing_can_be_told_apart_nothing_is_said(scores: list[list[float]]) -> None:
    assert parts(scores, scores) is None


def trial(layers: str, rouge_l: float, **others: Any) -> dict[str, Any]:
    common = {"state": "succeeded", "origin": "initial", "n": 1, "r": 8, "loss": 3 - rouge_l / 9}
    return {**common, "layers": layers, "rouge_l": rouge_l, "rouge_l_se": 1.0, "loss_se": 0.1, **others}


def record(user: str, trials: list[dict[str, Any]], **others: Any) -> SearchRecord:
    return SearchRecord("set", "base", user, **{"method": "milp", "seed": 0, "winner": 1, **others}, trials=trials)


def test_only_what_every_user_tried_and_trained_to_the_end_counts() -> None:
    shared = [("1000", 10.0), ("0100", 12.0), ("0010", 14.0)]
    ada = [trial("0000", 5.0, origin="base"), *(trial(*one) for one in shared), trial("1111", 9.0)]
    ben = [
        trial("0000", 5.0, origin="base"),
        *(trial(layers, 2 * rouge) for layers, rouge in shared),
        {**trial("1111", 9.0), "state": "stopped", "rouge_l": None},
        trial("0001", 9.0),
    ]
    others = [record("ben", ben, method="random"), record("ben", ben, variant="trials=8"), record("cy", ben, seed=1)]
    found = table([record("ada", ada), record("ben", ben), *others])
    assert [row[:5] for row in found.rows] == [
        ["set on base", "0", "2", "3", "ROUGE-L"],
        ["set on base", "0", "2", "3", "Loss"],
    ]


def test_a_search_that_was_written_twice_is_one(tmp_path: Path) -> None:
    trials = [trial(*one) for one in (("1000", 10.0), ("0100", 12.0), ("0010", 14.0))]
    for user in ("ada", "ben", "ben"):
        append(tmp_path, record(user, trials))
    assert [found.user for found in searches_of(tmp_path)] == ["ada", "ben"]


def test_without_several_users_the_table_says_so() -> None:
    assert "No configuration was tried for several users" in table([]).note
