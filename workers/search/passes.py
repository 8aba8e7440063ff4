"""How many passes over the train part serve this user: chosen once a search, from all trials of the initial design.

One trial's answers to a few validation samples say little about when to stop; the mean over a dozen trials does. Plain
arithmetic; loads nothing heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean


def best_passes(curves: Sequence[Sequence[float]]) -> int:
    """The number of passes after which the trials answer best on average; the fewest where several do.

    Args:
        curves: for each trial ROUGE-L on validation after each pass; all equally long.

    Raises:
        ValueError: no trial, no pass, or trials of unlike length.
    """
    if not curves or not curves[0] or len({len(curve) for curve in curves}) > 1:
        raise ValueError("passes are compared over trials that all made the same number of them, at least one")
    means = [fmean(after) for after in zip(*curves, strict=True)]
    return 1 + max(range(len(means)), key=lambda i: (means[i], -i))
