"""Whether a winner may answer: it has to beat the base and the memory prompt on samples that it has not learned.

Knows scores only; the statistics are the engine's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.metrics import PairedComparison, paired_bootstrap

_EVEN = 0.5
"""Probability of a better mean below which more samples are not waited for: the winner is behind."""
_EARLY = 0.1
"""Share of the error allowed in the end with which an early decision for the winner may be made."""


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Whether the winner is activated, and on what evidence (ROUGE-L differences, points of 0..100).

    Args:
        samples: that it was judged on.
        is_open: whether more samples could well change it: the winner is not behind either of the others, and not so
            far before both that a tenth of the error that is allowed would do. A decision that is made early asks for
            more than the last one (Haybittle, 1971; Peto and others, 1976).
    """

    passed: bool
    reason: str
    samples: int
    is_open: bool
    against_base: PairedComparison
    against_memory: PairedComparison


def decide(
    winner_rouge: Sequence[float], base_rouge: Sequence[float], memory_rouge: Sequence[float], confidence: float
) -> GateDecision:
    """Compare the winner with what would answer without it, sample by sample.

    Args:
        winner_rouge: ROUGE-L of the winner, 0..100, one per held-out sample.
        base_rouge: of the base, for the same samples in the same order.
        memory_rouge: of the memory prompt, likewise.
        confidence: probability of a better mean, one-sided, that both comparisons have to reach.

    Raises:
        ValueError: no samples, or not the same number for each.
    """
    against_base = paired_bootstrap(winner_rouge, base_rouge)
    against_memory = paired_bootstrap(winner_rouge, memory_rouge)
    compared = {"the base": against_base, "the memory prompt": against_memory}
    least = min(comparison.probability for comparison in compared.values())
    details = "; ".join(
        f"{'beats' if comparison.probability >= confidence else 'does not beat'} {name} by "
        f"{comparison.difference:+.2f} ROUGE-L [{comparison.low:+.2f}, {comparison.high:+.2f}], "
        f"probability {comparison.probability:.2f}"
        for name, comparison in compared.items()
    )
    needed = f"{confidence:.2f} needed for both, on {len(winner_rouge)} held-out samples"
    return GateDecision(
        passed=least >= confidence,
        reason=f"The winner {details} ({needed}).",
        samples=len(winner_rouge),
        is_open=_EVEN <= least < 1 - (1 - confidence) * _EARLY,
        against_base=against_base,
        against_memory=against_memory,
    )
