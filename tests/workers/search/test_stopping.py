"""When a search ends."""

from __future__ import annotations

from tests.workers.search.scores import seen, seen_base
from workers.search.presets import Preset
from workers.search.stopping import stop_reason, trials_without_progress

PRESET = Preset("test", trials=10, initial=2, patience=3)
BASE = seen_base(3.0, 10.0)
FIRST = [BASE, seen(2.9, 11.0), seen(2.8, 12.0)]
WORSE = seen(2.95, 10.5)


def test_a_search_under_way_goes_on() -> None:
    assert stop_reason(FIRST, PRESET, elapsed=5.0, max_seconds=None) is None


def test_it_stops_when_the_budget_is_spent() -> None:
    growing = [BASE, *(seen(2.9 - i / 10, 11.0 + i) for i in range(9))]
    assert stop_reason(growing[:-1], PRESET, 0.0, None) is None
    assert stop_reason(growing, PRESET, 0.0, None) == "All 10 trials of the budget are done."


def test_failed_trials_are_spent_too() -> None:
    assert stop_reason(FIRST, PRESET, 0.0, None, failed=6) is None
    assert "All 10 trials" in (stop_reason(FIRST, PRESET, 0.0, None, failed=7) or "")


def test_it_stops_when_the_seconds_are_over() -> None:
    assert stop_reason(FIRST, PRESET, 59.9, 60.0) is None
    assert stop_reason(FIRST, PRESET, 60.0, 60.0) == "The limit of 60 seconds is reached after 3 trials."


def test_it_stops_when_as_many_proposals_as_its_patience_brought_nothing() -> None:
    assert stop_reason([*FIRST, WORSE, WORSE], PRESET, 0.0, None) is None
    reason = stop_reason([*FIRST, WORSE, WORSE, WORSE], PRESET, 0.0, None)
    assert reason == "The hypervolume did not grow in the last 3 proposed trials."


def test_progress_starts_the_patience_anew() -> None:
    trials = [*FIRST, WORSE, WORSE, seen(2.5, 13.0), WORSE, WORSE]
    assert trials_without_progress(trials, PRESET) == 2
    assert stop_reason(trials, PRESET, 0.0, None) is None


def test_growth_far_below_the_noise_is_no_progress() -> None:
    assert trials_without_progress([*FIRST, seen(2.8, 12.00001)], PRESET) == 1


def test_the_initial_design_does_not_use_up_patience() -> None:
    assert trials_without_progress([BASE, WORSE, WORSE], PRESET) == 0
    assert trials_without_progress([], PRESET) == 0
