"""Short ways to write configurations and observations in tests."""

from __future__ import annotations

from engine.configuration import Configuration
from workers.search.observations import Observation


def seen(
    loss: float,
    rouge_l: float,
    bits: str = "1000",
    n: int = 1,
    r: int = 8,
    *,
    se: float = 0.0,
    parameters: int = 100,
) -> Observation:
    """An observation with these scores; `se` is the standard error of ROUGE-L."""
    return Observation(Configuration.from_bits(bits, n, r), loss, 0.0, rouge_l, se, parameters)


def seen_base(loss: float, rouge_l: float, se: float = 0.0) -> Observation:
    return Observation(Configuration.base(4), loss, 0.0, rouge_l, se, 0)
