"""What to try next, given what is known: surrogate and acquisition put together. Pure: data in, proposal out."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from engine.configuration import Configuration
from engine.pareto import pareto_front
from workers.search.observations import Observation
from workers.search.pareto import reference_point
from workers.search.seeds import derive_seed, torch_seeded
from workers.search.space import SearchSpace

RANDOM = "random"
"""Instead of a surrogate: random points, the control that a search has to beat."""

MIN_OBSERVATIONS = 2
"""A surrogate needs points to compare."""


def propose(
    space: SearchSpace,
    observations: Sequence[Observation],
    pending: Sequence[Configuration],
    q: int,
    *,
    surrogate: str,
    seed: int,
    failed: Sequence[Configuration] = (),
    stopped: Sequence[Observation] = (),
) -> list[Configuration]:
    """Up to q points to try next. The same arguments give the same points.

    Never a point that was observed, failed or is pending, never the base, never one twice. Failed points count as
    being as bad as the worst observed, so that the search keeps away from where training diverges. With too few
    observations to fit a surrogate to, or none it can be fitted to, the points are random.

    Args:
        observations: finished trials, the base's included.
        pending: configurations being evaluated.
        q: how many are wanted.
        surrogate: see `workers.search.surrogate.SURROGATES`, or `RANDOM`.
        seed: one per round; the caller derives it.
        failed: configurations whose trials ended without scores.
        stopped: forecasts of trials that were stopped early.

    Returns:
        Fewer than q, or none, when the space is used up.

    Raises:
        ValueError: unknown surrogate.
        SurrogateUnavailableError: the surrogate's packages are not installed.
    """
    excluded = {o.configuration for o in (*observations, *stopped)} | set(pending) | set(failed)
    if q <= 0:
        return []
    if surrogate == RANDOM or len({o.configuration for o in observations}) < MIN_OBSERVATIONS:
        return random_points(space, excluded, q, seed)
    from workers.search.acquisition import choose_points
    from workers.search.libraries import NanError, NotPSDError, known_warnings_silenced
    from workers.search.surrogate import Objectives, SurrogateFitError, fit_surrogate

    known = [*observations, *stopped, *_as_bad_as_the_worst(observations, failed)]
    points, objectives = space.encode([o.configuration for o in known]), Objectives(known)
    front = [observations[i].configuration for i in pareto_front(observations)]
    reference = objectives.standardised(reference_point(observations))
    acquisition_seed = derive_seed(seed, "acquisition")
    try:
        model = fit_surrogate(surrogate, points, objectives, seed)
        with torch_seeded(acquisition_seed), known_warnings_silenced():
            return choose_points(model, space, points, reference, pending, excluded, front, q, acquisition_seed)
    except (SurrogateFitError, NanError, NotPSDError):
        return random_points(space, excluded, q, seed)


def random_points(space: SearchSpace, excluded: Collection[Configuration], q: int, seed: int) -> list[Configuration]:
    """Up to q distinct random points, none excluded and none the base; fewer when the space is used up."""
    rng = random.Random(derive_seed(seed, "random"))
    taken = set(excluded)
    if space.trained_count <= 2 * (len(taken) + q):
        free = [point for point in space.trained_points() if point not in taken]
        return rng.sample(free, min(q, len(free)))
    chosen: list[Configuration] = []
    while len(chosen) < q:
        point = space.random(rng)
        if point not in taken:
            taken.add(point)
            chosen.append(point)
    return chosen


def _as_bad_as_the_worst(observations: Sequence[Observation], failed: Sequence[Configuration]) -> list[Observation]:
    loss, rouge_l = max(o.loss for o in observations), min(o.rouge_l for o in observations)
    loss_se, rouge_l_se = max(o.loss_se for o in observations), max(o.rouge_l_se for o in observations)
    return [Observation(c, loss, loss_se, rouge_l, rouge_l_se, 0) for c in failed if not c.is_base]
