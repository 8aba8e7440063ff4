"""When a search ends: trials spent, seconds spent, or no progress. Plain arithmetic; loads nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence

from workers.search.observations import Observation
from workers.search.pareto import hypervolume, reference_point
from workers.search.presets import Preset

SMALLEST_PROGRESS = 1e-3
"""Relative growth of hypervolume that counts as progress; less is far below the noise of a few validation samples."""


def stop_reason(
    observations_in_order: Sequence[Observation],
    preset: Preset,
    elapsed: float,
    max_seconds: float | None,
    failed: int = 0,
) -> str | None:
    """Why no further trial should be proposed, in one sentence; None to go on.

    Args:
        observations_in_order: finished trials by number, the base's included.
        preset: the budget.
        elapsed: seconds since the job started, pauses left out.
        max_seconds: most seconds after which trials are still proposed; None: no limit.
        failed: trials that ended without scores; they count as spent.
    """
    spent = len(observations_in_order) + failed
    if spent >= preset.trials:
        return f"All {preset.trials} trials of the budget are done."
    if max_seconds is not None and elapsed >= max_seconds:
        return f"The limit of {max_seconds:g} seconds is reached after {spent} trials."
    stale = trials_without_progress(observations_in_order, preset)
    if stale >= preset.patience:
        return f"The hypervolume did not grow in the last {stale} proposed trials."
    return None


def trials_without_progress(observations_in_order: Sequence[Observation], preset: Preset) -> int:
    """Proposed trials since the hypervolume last grew; those of the initial design (and the base) are not counted."""
    if not observations_in_order:
        return 0
    reference = reference_point(observations_in_order)
    best, last_progress = 0.0, 0
    for count in range(1, len(observations_in_order) + 1):
        volume = hypervolume(observations_in_order[:count], reference)
        if volume > best * (1 + SMALLEST_PROGRESS):
            best, last_progress = volume, count
    return max(0, len(observations_in_order) - max(last_progress, preset.initial + 1))
