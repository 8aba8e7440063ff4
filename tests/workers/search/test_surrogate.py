"""Surrogates: what they are told, and that they learn from it."""

from __future__ import annotations

import random

import pytest
import torch

from engine.configuration import Configuration
from tests.workers.search.scores import seen
from workers.search.initial import initial_design
from workers.search.observations import Observation
from workers.search.space import SearchSpace
from workers.search.surrogate import (
    LARGEST_NOISE_SHARE,
    SMALLEST_NOISE,
    SURROGATES,
    Objectives,
    fit_surrogate,
    observed_noise,
)


def _with_errors(loss: float, loss_se: float, rouge_l: float, rouge_l_se: float) -> Observation:
    return Observation(Configuration.from_bits("10", 1, 8), loss, loss_se, rouge_l, rouge_l_se, 1)


def test_objectives_are_maximised_and_standardised() -> None:
    objectives = Objectives([seen(1.0, 10.0), seen(3.0, 30.0)])
    torch.testing.assert_close(
        objectives.values, torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64) / 2**0.5
    )
    torch.testing.assert_close(
        objectives.standardised((2.0, 40.0)), torch.tensor([0.0, 2.0], dtype=torch.float64) / 2**0.5
    )


def test_objectives_that_are_all_alike_are_zero() -> None:
    objectives = Objectives([seen(2.0, 5.0), seen(2.0, 5.0)])
    assert (objectives.values == 0).all()


def test_standard_errors_become_variances_in_units_of_the_values() -> None:
    objectives = Objectives([_with_errors(1.0, 0.2, 10.0, 1.0), _with_errors(3.0, 0.4, 30.0, 2.0)])
    # Variances of the values are 2 and 200.
    torch.testing.assert_close(objectives.noise, torch.tensor([[0.02, 0.005], [0.08, 0.02]], dtype=torch.float64))


def test_noise_that_exceeds_what_the_observations_differ_by_is_scaled_down_alike() -> None:
    noise = observed_noise(torch.tensor([[1.0, 0.1], [3.0, 0.1]], dtype=torch.float64))
    assert noise[:, 0].mean().item() == pytest.approx(LARGEST_NOISE_SHARE)
    assert (noise[1, 0] / noise[0, 0]).item() == pytest.approx(9.0)
    torch.testing.assert_close(noise[:, 1], torch.tensor([0.01, 0.01], dtype=torch.float64))


def test_a_standard_error_of_zero_is_not_believed() -> None:
    assert (observed_noise(torch.zeros(3, 2, dtype=torch.float64)) == SMALLEST_NOISE).all()


def test_one_exploded_loss_does_not_set_the_scale() -> None:
    usual = [seen(3.0 - i / 10, 10.0 + i) for i in range(8)]
    objectives = Objectives([*usual, seen(900.0, 9.0)])
    good = objectives.values[:8, 0]
    assert (good.max() - good.min()).item() > 1.0
    assert objectives.values[8, 0] == objectives.values[:, 0].min()


@pytest.mark.parametrize(
    "kind",
    [
        "map_saas",
        "ensemble_map_saas",
        pytest.param("fully_bayesian_saas", marks=pytest.mark.slow),  # JAX compiles its fit: a quarter of a minute
    ],
)
def test_a_surrogate_finds_which_layer_matters(kind: str) -> None:
    space, rng = SearchSpace(6, 64), random.Random(0)
    points = [space.random(rng) for _ in range(20)]
    noisy = [Observation(p, 3.0 - p.layers[2], 0.1, 10.0 + 5.0 * p.layers[4], 0.5, 1) for p in points]
    objectives = Objectives(noisy)
    model = fit_surrogate(kind, space.encode(points), objectives, seed=0)
    tests = [Configuration.from_bits(bits, 2, 16) for bits in ("001000", "000010", "110101")]
    mean = model.posterior(space.encode(tests)).mean.detach().reshape(-1, 3, 2).mean(dim=0)
    loss_gain, rouge_gain = mean[:, 0], mean[:, 1]
    assert loss_gain[0] > loss_gain[1] + 1.0
    assert loss_gain[0] > loss_gain[2] + 1.0
    assert rouge_gain[1] > rouge_gain[0] + 1.0
    assert rouge_gain[1] > rouge_gain[2] + 1.0


def test_an_observation_with_a_large_standard_error_counts_for_less() -> None:
    space = SearchSpace(2, 16)
    points = [Configuration.from_bits(bits, n, 8) for bits in ("10", "01", "11") for n in (1, 2)]

    def surprise(error: float) -> float:
        observed = [Observation(p, 3.0, 0.1, 10.0, 0.1, 1) for p in points[:-1]]
        observed.append(Observation(points[-1], 3.0, 0.1, 20.0, error, 1))
        objectives = Objectives(observed)
        model = fit_surrogate("map_saas", space.encode(points), objectives, seed=0)
        return model.posterior(space.encode(points)).mean[-1, 1].item()

    assert surprise(error=5.0) < surprise(error=0.1) - 0.5


def test_fitting_leaves_the_global_random_state_alone() -> None:
    space = SearchSpace(4, 32)
    points = initial_design(space, 6, seed=0)
    problem = [seen(3.0 - 0.1 * i, 10.0 + i) for i in range(6)]
    before = torch.get_rng_state()
    fit_surrogate("ensemble_map_saas", space.encode(points), Objectives(problem), seed=0)
    assert torch.equal(before, torch.get_rng_state())


def test_an_unknown_surrogate_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=", ".join(SURROGATES)):
        fit_surrogate("oracle", torch.zeros(2, 3, dtype=torch.float64), Objectives([seen(1, 1), seen(2, 2)]), seed=0)
