"""What the search knows of a finished trial. Plain numbers; loads nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.configuration import Configuration


@dataclass(frozen=True, slots=True)
class Observation:
    """One configuration's validation scores.

    Args:
        configuration: what was trained.
        loss: cross-entropy per response token, nats, mean over the validation samples; less is better.
        loss_se: its standard error.
        rouge_l: ROUGE-L F-measure, 0..100, mean over the validation samples; more is better.
        rouge_l_se: its standard error.
        parameters: trained parameters of the stack; 0 for the base.

    Raises:
        ValueError: a score that is not finite, or a negative standard error. Such a trial is a failed one.
    """

    configuration: Configuration
    loss: float
    loss_se: float
    rouge_l: float
    rouge_l_se: float
    parameters: int

    def __post_init__(self) -> None:
        numbers = (self.loss, self.loss_se, self.rouge_l, self.rouge_l_se)
        if not all(map(math.isfinite, numbers)) or self.loss_se < 0 or self.rouge_l_se < 0:
            raise ValueError(f"scores must be finite and standard errors not negative, got {self}")
