"""What a round of answers is, and what is read off it: tokens per second, time to first token, time per token.

Knows times only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Round:
    """Answers to requests that were all sent at once, or by clients that each wait for an answer before they ask again.

    Args:
        seconds: from the first request to the end of the last answer.
        tokens: generated in all.
        first: seconds to each answer's first token, from its request on.
        per_token: seconds between two tokens, the mean of each answer (the field's TPOT).
    """

    seconds: float
    tokens: int
    first: list[float]
    per_token: list[float]

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


LATENCIES: dict[str, Callable[[Round], float]] = {
    "time to first token, p50": lambda r: 1e3 * median(r.first),
    "time to first token, p99": lambda r: 1e3 * percentile(r.first, 0.99),
    "time per token, p50": lambda r: 1e3 * median(r.per_token),
    "time per token, p99": lambda r: 1e3 * percentile(r.per_token, 0.99),
}
"""What is told of a round's times, in milliseconds."""


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def round_of(
    began: float, stamps: Sequence[Sequence[float]], tokens: int, asked: Sequence[float] | None = None
) -> Round:
    """A round from the times at which each answer's tokens were there; `tokens` is how many each answer has.

    Args:
        asked: when each request was sent; None: all when the round began.
    """
    starts = asked or [began] * len(stamps)
    first = [own[0] - start for own, start in zip(stamps, starts, strict=True)]
    steps = [(own[-1] - own[0]) / (tokens - 1) for own in stamps] if tokens > 1 else [0.0] * len(stamps)
    return Round(max(own[-1] for own in stamps) - began, tokens * len(stamps), first, steps)
