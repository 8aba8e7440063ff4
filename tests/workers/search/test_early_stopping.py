"""Stopping trials early: only those that cannot win, only on enough evidence, and with an honest forecast."""

from __future__ import annotations

import random

import pytest

from engine.configuration import Configuration
from workers.search.early_stopping import FEWEST_COMPLETE, Complete, StoppingRule
from workers.search.observations import Observation

BASE = Observation(Configuration.base(4), 6.0, 0.2, 8.0, 1.0, 0)


def complete(losses: tuple[float, ...], rouge_l: float, parameters: int) -> Complete:
    configuration = Configuration((True, False, False, False), 1, 8)
    return Complete(losses, Observation(configuration, losses[-1], 0.2, rouge_l, 1.0, parameters))


def user(slope: float, count: int = 20, noise: float = 0.3, seed: int = 0) -> list[Complete]:
    """Trials of which each nat of loss after the first pass is worth `slope` points of ROUGE-L in the end."""
    rng = random.Random(seed)
    trials = []
    for _ in range(count):
        first, size = rng.uniform(2.0, 4.0), round(10 ** rng.uniform(4, 6))
        final = 0.8 * first + rng.gauss(0, 0.02)
        trials.append(complete((first, final), 20 + slope * (first - 3.0) + rng.gauss(0, noise), size))
    return trials


@pytest.mark.parametrize(("slope", "hopeless", "hopeful"), [(-6.0, 3.9, 1.6), (6.0, 2.1, 4.4)])
def test_each_job_learns_whether_much_loss_is_a_bad_sign_or_a_good_one(
    slope: float, hopeless: float, hopeful: float
) -> None:
    rule = StoppingRule(user(slope), BASE)
    assert not rule.goes_on([hopeless], 100_000)
    assert rule.goes_on([hopeful], 100_000)


def test_a_trial_that_would_lose_more_than_the_base_cannot_win() -> None:
    rule = StoppingRule(user(6.0), Observation(Configuration.base(4), 2.6, 0.2, 8.0, 1.0, 0))
    assert not rule.goes_on([3.9], 100_000)


def test_without_enough_complete_trials_or_without_the_base_every_trial_goes_on() -> None:
    trials = user(-6.0)
    assert StoppingRule(trials[: FEWEST_COMPLETE - 1], BASE).goes_on([3.9], 100_000)
    assert StoppingRule(trials, None).goes_on([3.9], 100_000)
    assert not StoppingRule(trials, BASE).goes_on([3.9], 100_000)


def test_a_loss_that_is_not_finite_is_left_to_those_who_report_it() -> None:
    assert StoppingRule(user(-6.0), BASE).goes_on([float("nan")], 100_000)


def test_the_forecasts_errors_cover_what_complete_trials_scored() -> None:
    inside = []
    for seed in range(20):
        trials = user(-6.0, count=60, noise=1.5, seed=seed)
        rule = StoppingRule(trials[:20], BASE)
        for trial in trials[20:]:
            told = rule.forecast(trial.losses[:1], trial.observation.parameters)
            inside.append(abs(told.rouge_l - trial.observation.rouge_l) <= 1.96 * told.rouge_l_se)
            assert told.loss == pytest.approx(trial.observation.loss, abs=0.15)
    assert 0.92 <= sum(inside) / len(inside) <= 0.98


def test_a_forecast_from_a_later_pass_uses_the_losses_after_that_pass() -> None:
    rng = random.Random(1)
    trials = [
        complete((3.0, second, second + 0.1), 30 - 5 * second, 1000) for second in (rng.random() for _ in range(12))
    ]
    told = StoppingRule(trials, BASE).forecast([3.0, 0.5], 1000)
    assert told.loss == pytest.approx(0.6, abs=0.02)
    assert told.rouge_l == pytest.approx(27.5, abs=0.2)


def test_a_forecast_without_evidence_is_refused() -> None:
    with pytest.raises(ValueError, match="8 complete trials"):
        StoppingRule(user(1.0)[:3], BASE).forecast([3.0], 1000)
