"""How well a surrogate foretells trials it does not know, on records that are made up to be easy or hopeless."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from engine.configuration import Configuration
from evaluation.foretelling import FEWEST_TRIALS, foretell, table
from evaluation.rows import SearchRecord
from workers.search.space import SearchSpace

SPACE = SearchSpace(n_layers=12, max_total_rank=256)


def record_of(rouge_l: Callable[[Configuration], float], count: int = 24) -> list[dict[str, Any]]:
    """The base and that many random configurations, scored by the share of their layers and as told."""
    rng = random.Random(3)
    points = [SPACE.base, *dict.fromkeys(SPACE.random(rng) for _ in range(count))]
    return [
        {
            "state": "succeeded",
            "layers": point.layer_bits,
            "n": point.n,
            "r": point.r,
            "parameters": len(point.active_layers) * point.total_rank,
            "loss": 5.0 - len(point.active_layers) / 12,
            "loss_se": 0.01,
            "rouge_l": rouge_l(point),
            "rouge_l_se": 0.1,
        }
        for point in points
    ]


def test_scores_that_follow_a_stacks_shape_are_foretold_from_a_search_as_short_as_ours() -> None:
    found = foretell(record_of(lambda point: 10.0 + len(point.active_layers) / 4), "map_saas")
    assert found is not None
    assert found.loss > 0.9
    assert found.rouge_l > 0.9
    assert max(found.loss_error, found.rouge_l_error) < 0.4


def test_scores_of_chance_are_not_foretold() -> None:
    chance = random.Random(5)
    found = foretell(record_of(lambda _: chance.uniform(5, 15)), "map_saas")
    assert found is not None
    assert found.loss > 0.9
    assert abs(found.rouge_l) < 0.6
    assert found.rouge_l_error > 0.8


def test_an_ensembles_members_are_averaged() -> None:
    found = foretell(record_of(lambda point: 10.0 + len(point.active_layers) / 4), "ensemble_map_saas")
    assert found is not None
    assert found.rouge_l > 0.9


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_only_trials_that_made_every_pass_are_asked_about(state: str) -> None:
    trials = record_of(lambda point: float(point.n), count=FEWEST_TRIALS)
    assert foretell(trials, "map_saas") is not None
    trials[-1] = {**trials[-1], "state": state, "rouge_l": None}
    assert foretell(trials, "map_saas") is None


def test_scores_that_are_all_alike_have_no_order_to_foretell() -> None:
    assert foretell(record_of(lambda _: 7.0), "map_saas") is None


def test_the_table_has_a_row_for_each_set_and_says_where_there_is_none() -> None:
    trials = record_of(lambda point: float(point.n), count=FEWEST_TRIALS)
    records = [SearchRecord(f"set {n}", "base", "ada", "milp", 0, trials=trials, winner=1) for n in (1, 2)]
    assert [row[:2] for row in table(records, "map_saas").rows] == [["set 1 on base", "1"], ["set 2 on base", "1"]]
    assert "No search has" in table([], "map_saas").note
