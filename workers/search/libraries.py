"""The one door to BoTorch and what it stands on: everything the search uses of them, imported without their noise.

Importing this module is heavy (seconds). Must know nothing of the search.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

with warnings.catch_warnings():
    # linear_operator compiles one helper with torch.jit.script on import, which torch 2.13 calls deprecated.
    warnings.filterwarnings("ignore", message=r"`torch\.jit\.script", category=DeprecationWarning)
    from botorch.acquisition.multi_objective import logei
    from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
    from botorch.exceptions.errors import ModelFittingError
    from botorch.exceptions.warnings import BotorchWarning, InputDataWarning, OptimizationWarning
    from botorch.fit import fit_fully_bayesian_model_nuts, fit_gpytorch_mll
    from botorch.models.fully_bayesian import SaasFullyBayesianSingleTaskGP
    from botorch.models.gpytorch import GPyTorchModel
    from botorch.models.map_saas import EnsembleMapSaasSingleTaskGP, get_map_saas_model
    from botorch.models.model_list_gp_regression import ModelListGP
    from botorch.sampling.normal import SobolQMCNormalSampler
    from gpytorch.mlls import ExactMarginalLogLikelihood
    from linear_operator.utils.errors import NanError, NotPSDError
    from linear_operator.utils.warnings import NumericalWarning

# BoTorch would compile a kernel for this very processor on first use, into the home folder, if it finds a compiler:
# seconds of waiting, and proposals that differ in their last bits from machine to machine. It has no public switch.
logei._load_attempted = True


@contextmanager
def known_warnings_silenced() -> Iterator[None]:
    """Silence what the libraries say about numerical trouble that they then repair themselves."""
    with warnings.catch_warnings():
        # A line search that ends early is repeated from other hyperparameters; if all fail, ModelFittingError comes.
        warnings.simplefilter("ignore", OptimizationWarning)
        # Neighbouring points make nearly singular covariances: linear_operator adds jitter, and where that is not
        # enough for an update of the Cholesky factor, BoTorch computes it anew.
        warnings.simplefilter("ignore", NumericalWarning)
        warnings.filterwarnings("ignore", message="Low-rank cholesky updates failed", category=BotorchWarning)
        # Values that are all alike (no answer shares a word with its reference) have no variance to scale to one.
        warnings.filterwarnings("ignore", message=r".*not standardized", category=InputDataWarning)
        yield


__all__ = [
    "EnsembleMapSaasSingleTaskGP",
    "ExactMarginalLogLikelihood",
    "GPyTorchModel",
    "ModelFittingError",
    "ModelListGP",
    "NanError",
    "NotPSDError",
    "SaasFullyBayesianSingleTaskGP",
    "SobolQMCNormalSampler",
    "fit_fully_bayesian_model_nuts",
    "fit_gpytorch_mll",
    "get_map_saas_model",
    "known_warnings_silenced",
    "qLogNoisyExpectedHypervolumeImprovement",
]
