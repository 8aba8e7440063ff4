"""Acquisition: which points to try next, by noisy expected hypervolume improvement over the discrete space itself.

qLogNEHVI: Daulton, Balandat and Bakshy, 2021, "Parallel Bayesian optimization of multiple noisy objectives with
expected hypervolume improvement"; in logarithms after Ament and others, 2023, "Unexpected improvements to expected
improvement". Points are scored and moved as points of the space, never as reals that are rounded afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Sequence

import torch
from torch import Tensor

from engine.configuration import Configuration
from workers.search.libraries import (
    ModelListGP,
    SobolQMCNormalSampler,
    qLogNoisyExpectedHypervolumeImprovement,
)
from workers.search.space import SearchSpace

SAMPLES = 64
"""Joint posterior samples (quasi-random) that an acquisition value averages over, ensembles' members included."""
POOL = 256
"""Random points scored before the local search, and as many neighbours of good ones."""
RESTARTS = 3
"""Points of the pool from which the local search starts."""
SMALL_SPACE = 2048
"""Spaces of at most so many points are scored as a whole."""
CHUNK = 64
"""Points scored at once; bounds memory, and is what the local search looks at before it moves."""

Score = Callable[[Sequence[Configuration]], list[float]]


def choose_points(
    model: ModelListGP,
    space: SearchSpace,
    observed: Tensor,
    reference: Tensor,
    pending: Sequence[Configuration],
    excluded: Collection[Configuration],
    starts: Iterable[Configuration],
    q: int,
    seed: int,
) -> list[Configuration]:
    """Up to q distinct points, each the best given those chosen before it (sequential greedy).

    Args:
        model: surrogate of both objectives, maximised.
        space: what to choose from.
        observed: m x d encoded observations.
        reference: 2, the point hypervolume is measured from, in the surrogate's units.
        pending: points being evaluated; their results are integrated over.
        excluded: points not to choose, the pending and observed ones among them.
        starts: good points known; their neighbours are scored as well.
        q: how many.
        seed: of posterior samples and of the pool.
    """
    rng = random.Random(seed)
    taken = {space.base, *excluded}
    waiting, chosen = list(pending), []
    near = list(starts)
    acquisition = _acquisition(model, observed, reference, seed)
    for _ in range(q):
        acquisition.set_X_pending(space.encode(waiting) if waiting else None)
        point = best_point(space, _scores(acquisition, space), taken, near, rng)
        if point is None:
            break
        chosen.append(point)
        waiting.append(point)
        taken.add(point)
    return chosen


def best_point(
    space: SearchSpace,
    score: Score,
    taken: Collection[Configuration],
    near: Sequence[Configuration],
    rng: random.Random,
) -> Configuration | None:
    """The point with the largest score found: the whole of a small space, else a pool and a local search from its best.

    Args:
        score: values of many points at once.
        taken: points that may not be returned; the local search passes them by.
        near: points whose neighbours join the pool.

    Returns:
        None when every point is taken.
    """
    if space.trained_count <= SMALL_SPACE:
        pool = [point for point in space.trained_points() if point not in taken]
        return _ranked(pool, score)[0][1] if pool else None
    candidates = [space.random(rng) for _ in range(POOL)]
    around = [neighbour for point in near for neighbour in space.neighbours(point)]
    candidates += rng.sample(around, min(POOL, len(around)))
    # A dictionary drops repetitions and, unlike a set, keeps the order, on which ties depend.
    pool = [point for point in dict.fromkeys(candidates) if point not in taken]
    best: tuple[float, Configuration] | None = None
    for start in _ranked(pool, score)[:RESTARTS]:
        found = _climb(space, score, taken, start, rng)
        if best is None or found[0] > best[0]:
            best = found
    return best[1] if best else None


def _climb(
    space: SearchSpace,
    score: Score,
    taken: Collection[Configuration],
    start: tuple[float, Configuration],
    rng: random.Random,
) -> tuple[float, Configuration]:
    """Ascent over neighbours to a local maximum: a chunk of them at a time, moving as soon as one is better."""
    value, point = start
    while True:
        free = [neighbour for neighbour in space.neighbours(point) if neighbour not in taken]
        rng.shuffle(free)
        for begin in range(0, len(free), CHUNK):
            best = _ranked(free[begin : begin + CHUNK], score)[0]
            if best[0] > value:
                value, point = best
                break
        else:
            return value, point


def _ranked(points: Sequence[Configuration], score: Score) -> list[tuple[float, Configuration]]:
    """Points with their scores, best first, ties in their order."""
    return sorted(zip(score(points), points, strict=True), key=lambda pair: -pair[0])


def _acquisition(
    model: ModelListGP, observed: Tensor, reference: Tensor, seed: int
) -> qLogNoisyExpectedHypervolumeImprovement:
    members = max(
        (getattr(single, "batch_shape", torch.Size()).numel() for single in model.models.children()), default=1
    )
    return qLogNoisyExpectedHypervolumeImprovement(
        model=model,
        ref_point=reference,
        X_baseline=observed,
        sampler=SobolQMCNormalSampler(torch.Size([max(16, SAMPLES // members)]), seed=seed),
        prune_baseline=True,
    )


def _scores(acquisition: qLogNoisyExpectedHypervolumeImprovement, space: SearchSpace) -> Score:
    def score(points: Sequence[Configuration]) -> list[float]:
        with torch.no_grad():
            chunks = [acquisition(chunk.unsqueeze(1)) for chunk in torch.split(space.encode(points), CHUNK)]
        return [value for chunk in chunks for value in chunk.tolist()]

    return score
