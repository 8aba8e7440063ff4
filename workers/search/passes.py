"""How many passes over the train part serve this user: chosen once a search, from all trials of the initial design.

One trial's answers to a few validation samples say little about when to stop; the mean over a dozen trials does. Plain
arithmetic; loads nothing heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

TOLERANCE = 0.05
"""Share of the best mean that a later pass may lack. What is published is an average of several trainings, which gains
the more the longer each of them learned: as good alone, later is better together (evaluation/README.md)."""


def best_passes(curves: Sequence[Sequence[float]]) -> int:
    """The most passes after which the trials answer, on average, as well as after any number of them, or nearly so.

    Args:
        curves: for each trial ROUGE-L on validation after each pass; all equally long.

    Raises:
        ValueError: no trial, no pass, or trials of unlike length.
    """
    if not curves or not curves[0] or len({len(curve) for curve in curves}) > 1:
        raise ValueError("passes are compared over trials that all made the same number of them, at least one")
    means = [fmean(after) for after in zip(*curves, strict=True)]
    enough = (1.0 - TOLERANCE) * max(means)
    return max(passes for passes, mean in enumerate(means, start=1) if mean >= enough)
