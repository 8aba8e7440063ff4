"""Which trials are not worth training to the end, and what an unfinished one tells the surrogate.

After a pass, what a trial will score when complete is predicted from its validation loss so far and its size, by linear
regression over the trials that did complete: more loss means a worse answer with some users and less overfitting with
others, so each job learns its own relation. Numbers only; loads nothing heavy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.search.observations import Observation
from workers.search.winner import lower_bound

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEWEST_COMPLETE = 8
"""Complete trials, the base left out, from which predictions are made: three coefficients and their spread."""
CONFIDENCE = 0.95
"""A trial is stopped when it cannot win with this probability."""
_RIDGE = 1e-3
"""Keeps the regression solvable where all trials are alike; far below one observation's weight."""


@dataclass(frozen=True, slots=True)
class Complete:
    """A trial that trained all its passes.

    Args:
        losses: validation loss after each pass, nats.
        observation: what it scored at the end.
    """

    losses: tuple[float, ...]
    observation: Observation


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a trial is predicted to score when complete, each with its standard error."""

    loss: float
    loss_se: float
    rouge_l: float
    rouge_l_se: float


class StoppingRule:
    """Decides from the complete trials it was given, and from nothing else: the same ones decide alike.

    Args:
        complete: trials of the job, the base left out.
        base: the base's own scores.
        confidence: probability with which a trial has to be unable to win to be stopped.
    """

    def __init__(self, complete: Sequence[Complete], base: Observation | None, confidence: float = CONFIDENCE) -> None:
        self._confidence = confidence
        self._complete = [trial for trial in complete if trial.observation.parameters > 0]
        self._base = base

    @property
    def is_ready(self) -> bool:
        return self._base is not None and len(self._complete) >= FEWEST_COMPLETE

    def goes_on(self, losses: Sequence[float], parameters: int) -> bool:
        """Whether a trial with these validation losses after its passes so far may still win (see `choose_winner`).

        To win it would need a better lower bound of ROUGE-L than the best so far, and no more loss than the base.
        """
        if not self.is_ready or self._base is None or not all(map(math.isfinite, losses)):
            return True
        forecast = self.forecast(losses, parameters)
        best = max(lower_bound(trial.observation) for trial in self._complete)
        # The lower bound lies one standard error of a mean over the validation samples below it.
        usual_se = sum(trial.observation.rouge_l_se for trial in self._complete) / len(self._complete)
        better = _above(best, forecast.rouge_l - usual_se, forecast.rouge_l_se)
        allowed = 1.0 - _above(self._base.loss, forecast.loss, forecast.loss_se)
        return better * allowed > 1.0 - self._confidence

    def forecast(self, losses: Sequence[float], parameters: int) -> Forecast:
        """What such a trial would score when complete. Raises: ValueError without enough complete trials."""
        if not self.is_ready:
            raise ValueError(f"a forecast needs {FEWEST_COMPLETE} complete trials and the base")
        passes = len(losses)
        known = [_features(trial.losses[:passes], trial.observation.parameters) for trial in self._complete]
        here = _features(losses, parameters)
        loss = _regressed(known, [trial.observation.loss for trial in self._complete], here)
        rouge_l = _regressed(known, [trial.observation.rouge_l for trial in self._complete], here)
        return Forecast(*loss, max(0.0, rouge_l[0]), rouge_l[1])


def _features(losses: Sequence[float], parameters: int) -> list[float]:
    return [losses[-1], math.log(parameters)]


def _regressed(known: Sequence[Sequence[float]], values: Sequence[float], here: Sequence[float]) -> tuple[float, float]:
    """Prediction at `here` and its standard error, from a line through `values` at the `known` points."""
    import numpy as np

    points: NDArray[np.float64] = np.array(known)
    centre, spread = points.mean(axis=0), points.std(axis=0)
    spread[spread == 0] = 1.0
    design = np.column_stack([np.ones(len(points)), (points - centre) / spread])
    row = np.concatenate([[1.0], (np.array(here) - centre) / spread])
    penalty = _RIDGE * np.diag([0.0] + [1.0] * (design.shape[1] - 1))
    inverse = np.linalg.inv(design.T @ design + penalty)
    weights = inverse @ design.T @ np.array(values)
    residuals = np.array(values) - design @ weights
    freedom = len(values) - design.shape[1]
    # The spread is itself known from a few residuals only: the variance of Student's t instead of the normal's.
    variance = float(residuals @ residuals) / (freedom - 2)
    return float(row @ weights), math.sqrt(variance * (1.0 + float(row @ inverse @ row)))


def _above(threshold: float, mean: float, standard_error: float) -> float:
    """Probability that a normal variable is above the threshold."""
    if standard_error == 0:
        return float(mean > threshold)
    return 0.5 * math.erfc((threshold - mean) / (standard_error * math.sqrt(2.0)))
