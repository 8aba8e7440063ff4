"""The first configurations of a search, before any score is known."""

from __future__ import annotations

import math
import random
from typing import Any

from engine.configuration import Configuration
from workers.search.seeds import derive_seed
from workers.search.space import SearchSpace


def initial_design(space: SearchSpace, count: int, seed: int) -> list[Configuration]:
    """`count` distinct points: the default LoRA if it fits, then a scrambled Sobol sequence with varied sparsity.

    One Sobol axis gives the share of active layers, one per layer the order in which layers are taken, two more r
    and n. Bits cut from a Sobol axis each would have half of the layers active nearly always, and early layers
    hardly ever off together.

    Returns:
        `count` points, fewer where the space has fewer; never the base.
    """
    wanted = min(count, space.trained_count)
    if wanted <= 0:
        return []
    default = Configuration.default_lora(space.n_layers)
    # A dictionary keeps order and drops what comes twice.
    design = dict.fromkeys([default] if space.contains(default) else [])
    for point in _sobol_points(space, wanted, seed):
        if len(design) < wanted:
            design[point] = None
    rng = random.Random(derive_seed(seed, "initial"))
    while len(design) < wanted and 2 * wanted <= space.trained_count:
        design[space.random(rng)] = None
    if len(design) < wanted:
        rest = [point for point in space.trained_points() if point not in design]
        design.update(dict.fromkeys(rng.sample(rest, wanted - len(design))))
    return list(design)


def _sobol_points(space: SearchSpace, count: int, seed: int) -> list[Configuration]:
    import torch

    untyped_engine: Any = torch.quasirandom.SobolEngine
    engine = untyped_engine(space.n_layers + 3, scramble=True, seed=derive_seed(seed, "sobol"))
    # Sobol's balance holds for powers of two only.
    rows = engine.draw(2 ** math.ceil(math.log2(count + 1)), dtype=torch.float64).clamp(max=1.0 - 1e-9).tolist()
    points = []
    for active_share, rank_share, loras_share, *order in rows:
        active = 1 + int(active_share * space.n_layers)
        chosen = sorted(range(space.n_layers), key=order.__getitem__)[:active]
        points.append(space.point(set(chosen), rank_share, loras_share))
    return points
