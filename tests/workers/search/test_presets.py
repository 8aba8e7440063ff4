"""Budgets by name."""

from __future__ import annotations

from typing import get_args

import pytest

from app import job_options
from workers.search.presets import PRESETS, budget


def test_the_presets_are_those_a_job_may_name() -> None:
    assert set(PRESETS) == set(get_args(job_options.Preset))


def test_each_preset_leaves_trials_for_the_surrogate_to_propose() -> None:
    for name, preset in PRESETS.items():
        assert preset.name == name
        assert 1 + preset.initial < preset.trials


def test_the_quick_preset_has_fourteen_trials_and_the_paper_a_hundred_initial_points() -> None:
    assert budget("quick").trials == 14
    assert budget("standard").trials == 40
    assert budget("paper").initial == 100


def test_a_smaller_budget_keeps_a_third_of_its_trained_trials_for_proposals() -> None:
    assert (budget("paper", 31).trials, budget("paper", 31).initial) == (31, 20)
    assert budget("quick", 2).initial == 1


def test_a_larger_budget_leaves_the_initial_design_as_it_is() -> None:
    assert (budget("quick", 100).trials, budget("quick", 100).initial) == (100, 8)


def test_an_unknown_name_and_a_budget_for_the_base_alone_are_refused() -> None:
    with pytest.raises(ValueError, match="quick, standard, paper"):
        budget("slow")
    with pytest.raises(ValueError, match="at least 2 trials"):
        budget("quick", 1)
