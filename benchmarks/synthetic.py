"""A search problem with a known optimum, for measuring searches without training anything.

Shaped like what was seen on real users: few layers matter, two of them do harm, capacity first helps both objectives
and then helps ROUGE-L at the expense of loss, and the scores of a validation set are noisy. Tests use it too.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from engine.configuration import Configuration
from workers.search.observations import Observation
from workers.search.pareto import hypervolume
from workers.search.space import SearchSpace

BASE_LOSS, BASE_ROUGE_L = 3.0, 10.0
WEIGHTS = (0.4, 0.3, 0.2, 0.1, -0.2, -0.2)
"""What each layer that matters adds to the fit of a stack; those below zero do harm."""


@dataclass(frozen=True)
class SyntheticProblem:
    """Scores as functions of a configuration, plus noise.

    Args:
        space: the search space; at least six layers.
        seed: decides which layers matter.
        loss_noise: standard error of an observed loss, nats.
        rouge_noise: standard error of an observed ROUGE-L, points.
    """

    space: SearchSpace
    seed: int
    loss_noise: float = 0.02
    rouge_noise: float = 0.4

    @cached_property
    def weights(self) -> dict[int, float]:
        """Layer -> weight, of the layers that matter."""
        layers = random.Random(self.seed).sample(range(self.space.n_layers), len(WEIGHTS))
        return dict(zip(layers, WEIGHTS, strict=True))

    def truth(self, configuration: Configuration) -> Observation:
        """The scores without noise."""
        capacity = math.log2(1 + configuration.total_rank) / math.log2(1 + self.space.max_total_rank)
        fit = sum(self.weights.get(layer, 0.0) for layer in configuration.active_layers)
        # The two strongest layers are worth more together than apart.
        strongest = list(self.weights)[:2]
        fit += 0.2 if set(strongest) <= set(configuration.active_layers) else 0.0
        # Every active layer that does nothing still overfits a little.
        overfit = max(0.0, capacity - 0.5) ** 2 * (1 + len(configuration.active_layers) / self.space.n_layers)
        loss = BASE_LOSS - 0.8 * fit * capacity * (1.4 - capacity) + 0.6 * overfit
        rouge_l = BASE_ROUGE_L + 10.0 * fit * capacity
        parameters = configuration.total_rank * len(configuration.active_layers)
        return Observation(configuration, loss, self.loss_noise, max(0.0, rouge_l), self.rouge_noise, parameters)

    def observe(self, configuration: Configuration) -> Observation:
        """The scores with noise; the same configuration always gets the same noise."""
        true = self.truth(configuration)
        rng = random.Random(f"{self.seed}/{configuration}")
        loss = true.loss + rng.gauss(0.0, self.loss_noise)
        rouge_l = max(0.0, true.rouge_l + rng.gauss(0.0, self.rouge_noise))
        return Observation(configuration, loss, self.loss_noise, rouge_l, self.rouge_noise, true.parameters)

    @cached_property
    def best_hypervolume(self) -> float:
        """Hypervolume of the whole space without noise, the base being the reference.

        Layers that do not matter only overfit, so that no point of the true front has one of them active.
        """
        points = []
        for chosen in product((False, True), repeat=len(self.weights)):
            active = {layer for layer, on in zip(self.weights, chosen, strict=True) if on}
            layers = tuple(layer in active for layer in range(self.space.n_layers))
            points += [self.truth(Configuration(layers, n, r)) for n, r in self.space.sizes if active]
        return hypervolume(points, (BASE_LOSS, BASE_ROUGE_L))

    def share_found(self, configurations: list[Configuration]) -> float:
        """Noise-free hypervolume of these configurations, as a share of the best there is (0..1)."""
        true = [self.truth(configuration) for configuration in configurations]
        return hypervolume(true, (BASE_LOSS, BASE_ROUGE_L)) / self.best_hypervolume
