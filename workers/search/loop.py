"""The search as one function: what has been tried, and what to try next. Loads nothing heavy until it proposes.

Holds no state: a plan step calls it with what the database says, and a repeated call gives the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from engine.configuration import Configuration
from workers.search.initial import initial_design
from workers.search.observations import Observation
from workers.search.presets import Preset
from workers.search.proposal import propose
from workers.search.seeds import derive_seed
from workers.search.space import SearchSpace
from workers.search.stopping import stop_reason

Origin = Literal["base", "default", "initial", "proposed"]
"""Why a configuration is tried."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What to try next, each with its origin; and, when there is nothing more to propose, why."""

    configurations: list[tuple[Configuration, Origin]] = field(default_factory=list)
    stop_reason: str | None = None


def next_batch(
    space: SearchSpace,
    preset: Preset,
    observations_in_order: Sequence[Observation],
    failed: Sequence[Configuration],
    pending: Sequence[Configuration],
    q: int,
    seed: int,
    surrogate: str,
    elapsed: float,
    max_seconds: float | None,
    stopped: Sequence[Observation] = (),
) -> Batch:
    """The next trials of a search. A pure function: the same arguments give the same batch.

    The first batch is the base, the default LoRA and the rest of the initial design, whatever q is. Each later one has
    up to q proposed points. No configuration ever comes twice.

    Args:
        space: what may be tried.
        preset: the budget.
        observations_in_order: finished trials by number.
        failed: configurations of trials that ended without scores.
        pending: configurations of trials planned or running.
        q: most points to propose.
        seed: the job's.
        surrogate: see `workers.search.surrogate.SURROGATES`.
        elapsed: seconds since the job started, pauses left out.
        max_seconds: most seconds after which points are still proposed; None: no limit.
        stopped: forecasts of trials that were stopped early. The surrogate is told them, with their uncertainty; in
            nothing else do they count but as spent.

    Returns:
        With a stop reason: nothing more will be proposed. With neither points nor a reason: the whole budget is
        planned, and what is pending has to finish first.
    """
    seen = {o.configuration for o in (*observations_in_order, *stopped)} | set(failed) | set(pending)
    first = [point for point in _first_batch(space, preset, seed) if point[0] not in seen]
    if first:
        return Batch(first)
    # Random points follow from nothing: that the last ones brought no progress says nothing of the next.
    patient = replace(preset, patience=preset.trials) if surrogate == "random" else preset
    reason = stop_reason(observations_in_order, patient, elapsed, max_seconds, failed=len(failed) + len(stopped))
    if reason:
        return Batch(stop_reason=reason)
    left = preset.trials - len(observations_in_order) - len(failed) - len(stopped) - len(pending)
    if left <= 0:
        return Batch()
    points = propose(
        space,
        observations_in_order,
        pending,
        min(q, left),
        surrogate=surrogate,
        seed=derive_seed(seed, "proposal", len(seen)),
        failed=failed,
        stopped=stopped,
    )
    if not points and not pending:
        return Batch(stop_reason=f"All {len(seen)} configurations of the space have been tried.")
    return Batch([(point, "proposed") for point in points])


def _first_batch(space: SearchSpace, preset: Preset, seed: int) -> list[tuple[Configuration, Origin]]:
    default = Configuration.default_lora(space.n_layers)
    design = initial_design(space, min(preset.initial, preset.trials - 1), derive_seed(seed, "design"))
    trained: list[tuple[Configuration, Origin]] = [
        (point, "default" if point == default else "initial") for point in design
    ]
    return [(space.base, "base"), *trained]
