"""What stopping trials early saves and loses, on searches that were made without it."""

from __future__ import annotations

from typing import Any

from evaluation.rows import SearchRecord
from evaluation.stopping import replay, table


def trial(number: int, losses: list[float], rouge_l: float, origin: str = "initial") -> dict[str, Any]:
    return {
        "number": number,
        "origin": origin,
        "state": "succeeded",
        "layers": "1111",
        "n": 1,
        "r": 16,
        "parameters": 0 if origin == "base" else 1000,
        "curve": losses if origin != "base" else [],
        "loss": losses[-1] if losses else None,
        "loss_se": 0.1,
        "rouge_l": rouge_l,
        "rouge_l_se": 1.0,
    }


BASE = trial(0, [9.0], 5.0, origin="base")
KNOWN = [trial(n, [3.0 + n / 10, 2.5 + n / 10, 2.0 + n / 10], 20.0 - n) for n in range(1, 9)]
"""The less loss after a pass, the better at the end: by far the best has 3.1 after the first."""


def test_a_trial_that_looks_hopeless_after_a_pass_is_stopped_there_and_costs_nothing_where_it_was() -> None:
    hopeless, hopeful = trial(9, [8.0, 7.5, 7.0], 1.0), trial(10, [3.0, 2.5, 2.0], 20.5)
    found = replay([BASE, *KNOWN, hopeless, hopeful], 0.95)
    assert found is not None
    assert (found.passes, found.saved, found.lost) == (6, 2, 0.0)


def test_what_was_stopped_and_would_have_been_the_best_is_counted_as_lost() -> None:
    late = trial(9, [8.0, 7.5, 7.0], 30.0)
    found = replay([BASE, *KNOWN, late], 0.95)
    assert found is not None
    assert (found.saved, found.lost) == (2, 11.0)


def test_trials_that_a_search_stopped_or_that_failed_are_not_gone_through() -> None:
    stopped = {**trial(9, [8.0], 1.0), "state": "stopped"}
    failed = {**trial(10, [], 0.0), "state": "failed"}
    assert replay([BASE, *KNOWN, stopped, failed], 0.95) is None
    assert replay([*KNOWN, trial(9, [3.0, 2.0, 1.0], 20.0)], 0.95) is None


def test_a_record_from_before_the_losses_of_every_pass_were_kept_is_not_gone_through() -> None:
    old = [{name: value for name, value in one.items() if name != "curve"} for one in (BASE, *KNOWN)]
    assert replay(old, 0.95) is None


def test_the_table_counts_a_design_once_that_two_searches_share() -> None:
    trials = [BASE, *KNOWN, trial(9, [8.0, 7.5, 7.0], 1.0)]
    records = [SearchRecord("s", "b", "u", method, 0, trials=trials, winner=1) for method in ("milp", "random")]
    told = table(records, [0.95]).markdown()
    assert "| 0.95 | 2 of 3 (67%) | 1 of 1 | 0.00 |" in told
    on_another_base = SearchRecord("s", "c", "u", "milp", 0, trials=trials, winner=1)
    assert "| 0.95 | 4 of 6 (67%) | 2 of 2 | 0.00 |" in table([*records, on_another_base], [0.95]).markdown()
    assert "No search has a design" in table([]).markdown()
