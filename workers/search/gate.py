"""Whether a winner may answer: it has to beat the base and the memory prompt on validation.

Knows scores only; the statistics are the engine's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.metrics import PairedComparison, paired_bootstrap


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Whether the winner is activated, and on what evidence (ROUGE-L differences, points of 0..100)."""

    passed: bool
    reason: str
    against_base: PairedComparison
    against_memory: PairedComparison


def decide(
    winner_rouge: Sequence[float], base_rouge: Sequence[float], memory_rouge: Sequence[float], confidence: float
) -> GateDecision:
    """Compare the winner with what would answer without it, sample by sample.

    Args:
        winner_rouge: ROUGE-L of the winner, 0..100, one per validation sample.
        base_rouge: of the base, for the same samples in the same order.
        memory_rouge: of the memory prompt, likewise.
        confidence: probability of a better mean, one-sided, that both comparisons have to reach.

    Raises:
        ValueError: no samples, or not the same number for each.
    """
    against_base = paired_bootstrap(winner_rouge, base_rouge)
    against_memory = paired_bootstrap(winner_rouge, memory_rouge)
    verdicts = [
        (name, comparison, comparison.probability >= confidence)
        for name, comparison in (("the base", against_base), ("the memory prompt", against_memory))
    ]
    passed = all(beaten for _, _, beaten in verdicts)
    details = "; ".join(
        f"{'beats' if beaten else 'does not beat'} {name} by {comparison.difference:+.2f} ROUGE-L "
        f"[{comparison.low:+.2f}, {comparison.high:+.2f}], probability {comparison.probability:.2f}"
        for name, comparison, beaten in verdicts
    )
    needed = f"{confidence:.2f} needed for both, on {len(winner_rouge)} validation samples"
    return GateDecision(passed, f"The winner {details} ({needed}).", against_base, against_memory)
