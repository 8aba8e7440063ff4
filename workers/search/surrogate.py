"""Surrogates: one Gaussian process with the SAAS prior per objective, told how noisy each observation is.

The sparse axis-aligned prior (Eriksson and Jankowiak, 2021, "High-dimensional Bayesian optimization with sparse
axis-aligned subspaces") expects that few of the many axes matter. Its hyperparameters are either the most probable
ones (MAP), those of an ensemble of sparsities, or samples of the posterior (NUTS). Knows encoded points, not layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from workers.search.errors import SurrogateUnavailableError
from workers.search.libraries import (
    EnsembleMapSaasSingleTaskGP,
    ExactMarginalLogLikelihood,
    GPyTorchModel,
    ModelFittingError,
    ModelListGP,
    NanError,
    NotPSDError,
    SaasFullyBayesianSingleTaskGP,
    fit_fully_bayesian_model_nuts,
    fit_gpytorch_mll,
    get_map_saas_model,
    known_warnings_silenced,
)
from workers.search.observations import Observation
from workers.search.seeds import derive_seed, torch_seeded

NUTS_WARMUP, NUTS_SAMPLES, NUTS_THINNING = 256, 128, 16
"""Half of BoTorch's defaults in warm-up and samples: on this problem's shape the predictions are no worse."""

LARGEST_NOISE_SHARE = 0.5
SMALLEST_NOISE = 1e-3
"""Bounds of the mean noise variance, and of each single one, in units of the variance between observations."""

OUTER_FENCE = 3.0
"""Interquartile ranges beyond the worse quartile after which a score is as bad as any (Tukey's outer fence)."""


class SurrogateFitError(Exception):
    """The surrogate's hyperparameters could not be fitted to these observations."""


class Objectives:
    """Both objectives as maximised, standardised values: column 0 is minus the loss, column 1 ROUGE-L.

    Args:
        observations: at least one.
    """

    def __init__(self, observations: Sequence[Observation]) -> None:
        raw = torch.tensor([[-o.loss, o.rouge_l] for o in observations], dtype=torch.float64)
        errors = torch.tensor([[o.loss_se, o.rouge_l_se] for o in observations], dtype=torch.float64)
        clipped = _without_far_worse(raw)
        self.mean = clipped.mean(dim=0)
        scale = clipped.std(dim=0) if len(clipped) > 1 else torch.zeros_like(self.mean)
        # All alike: any scale will do.
        self.scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        self.values = (clipped - self.mean) / self.scale
        """m x 2, mean 0, variance 1."""
        self.noise = observed_noise(errors / self.scale)
        """m x 2, variances in the same units."""

    def standardised(self, reference: tuple[float, float]) -> Tensor:
        """A (loss, ROUGE-L) pair in the same units; 2."""
        loss, rouge_l = reference
        return (torch.tensor([-loss, rouge_l], dtype=torch.float64) - self.mean) / self.scale


def observed_noise(errors: Tensor) -> Tensor:
    """Noise variances from standard errors, in units of the variance between observations.

    All configurations are scored on the same samples, so an unlucky draw of samples moves them together: the standard
    errors contain a part that the observations share and that says nothing about their order. Noise of the
    observations' own cannot be more than what they differ by; where the errors claim more, the excess is the shared
    part, and all are scaled down alike. From below, a standard error of a few samples can be zero by chance.

    Args:
        errors: m x 2 standard errors of values whose variance is 1.

    Returns:
        m x 2 variances.
    """
    variance = errors.square()
    mean = variance.mean(dim=0)
    shrink = torch.where(mean > LARGEST_NOISE_SHARE, LARGEST_NOISE_SHARE / mean, torch.ones_like(mean))
    return (variance * shrink).clamp_min(SMALLEST_NOISE)


def _without_far_worse(values: Tensor) -> Tensor:
    """`values` (m x 2, more is better) with the hopeless ones raised to the outer fence.

    One stack whose loss exploded would otherwise set the scale, and all good ones would look alike.
    """
    quartiles = torch.quantile(values, torch.tensor([0.25, 0.75], dtype=values.dtype), dim=0)
    return torch.maximum(values, quartiles[0] - OUTER_FENCE * (quartiles[1] - quartiles[0]))


def fit_surrogate(kind: str, points: Tensor, objectives: Objectives, seed: int) -> ModelListGP:
    """Fit one Gaussian process per objective.

    Args:
        kind: one of `SURROGATES`.
        points: m x d encoded configurations.
        objectives: of the same m.
        seed: of restarts, ensemble sparsities and NUTS.

    Raises:
        ValueError: unknown kind.
        SurrogateFitError: the fit failed numerically.
        SurrogateUnavailableError: fully Bayesian inference is not installed.
    """
    if kind not in SURROGATES:
        raise ValueError(f"unknown surrogate {kind!r}: choose one of {', '.join(SURROGATES)}")
    models = []
    for column in range(objectives.values.shape[1]):
        values, noise = objectives.values[:, column, None], objectives.noise[:, column, None]
        with torch_seeded(derive_seed(seed, kind, column)), known_warnings_silenced():
            try:
                models.append(SURROGATES[kind](points, values, noise, derive_seed(seed, kind, column)))
            except (ModelFittingError, NanError, NotPSDError) as error:
                raise SurrogateFitError(f"{kind} could not be fitted to {len(points)} observations: {error}") from error
    return ModelListGP(*models)


def _map_saas(points: Tensor, values: Tensor, noise: Tensor, _seed: int) -> GPyTorchModel:
    model: GPyTorchModel = get_map_saas_model(points, values, noise)
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model


def _ensemble_map_saas(points: Tensor, values: Tensor, noise: Tensor, _seed: int) -> GPyTorchModel:
    model = EnsembleMapSaasSingleTaskGP(points, values, noise, outcome_transform=None)
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model


def _fully_bayesian_saas(points: Tensor, values: Tensor, noise: Tensor, seed: int) -> GPyTorchModel:
    try:
        model = SaasFullyBayesianSingleTaskGP(points, values, noise)
    except ImportError as error:
        raise SurrogateUnavailableError(
            "fully Bayesian SAAS needs JAX and NumPyro: install 'milp-serve[fully-bayesian]', "
            "or choose the surrogate map_saas"
        ) from error
    fit_fully_bayesian_model_nuts(
        model,
        warmup_steps=NUTS_WARMUP,
        num_samples=NUTS_SAMPLES,
        thinning=NUTS_THINNING,
        disable_progbar=True,
        seed=seed,
    )
    return model


SURROGATES: dict[str, Callable[[Tensor, Tensor, Tensor, int], GPyTorchModel]] = {
    "map_saas": _map_saas,
    "ensemble_map_saas": _ensemble_map_saas,
    "fully_bayesian_saas": _fully_bayesian_saas,
}
