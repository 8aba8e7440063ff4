"""The discrete search space: which configurations there are, which are neighbours, how a surrogate sees them.

MiLP, Table 2: one bit per decoder layer, n LoRAs of rank r per projection. Knows nothing of scores.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

from engine.configuration import MAX_LORAS, RANKS, Configuration

if TYPE_CHECKING:
    from torch import Tensor

AXES = (
    "share of active layers",
    "place of the lowest",
    "place of the highest",
    "their mean place",
    "log of all parameters",
    "log of n * r",
    "log of r",
)
"""What an encoded configuration says of a stack as a whole. n LoRAs of rank r are the same function as one of rank
n * r: with n * r and r as axes, the prior can drop the second, where n and r would hide it."""

LAYER_WIDTH = 0.25
"""Width of the axis of a single layer, the others' being 1."""


def default_max_total_rank(hidden_size: int) -> int:
    """Largest n * r searched where nothing else is set: vLLM serves 512 at most, and hidden / 2 is still low rank."""
    return min(512, hidden_size // 2)


@dataclass(frozen=True)
class SearchSpace:
    """Every configuration of a base with `n_layers` decoder layers whose stack has a total rank that fits.

    The base itself (no layer active, or n = 0) is one point of the space, in its normalised form. Every other point
    trains something; `random`, `neighbours` and `trained_points` give only those.

    Args:
        n_layers: decoder layers of the base.
        max_total_rank: largest n * r.
        ranks: the ranks r to choose from.
        max_loras: largest n.
        search_layers: whether layers are chosen; if not, all of them carry LoRAs.

    Raises:
        ValueError: no layer, or a rank or number of LoRAs below one.
    """

    n_layers: int
    max_total_rank: int
    ranks: tuple[int, ...] = RANKS
    max_loras: int = MAX_LORAS
    search_layers: bool = True

    def __post_init__(self) -> None:
        if self.n_layers < 1 or self.max_loras < 1 or not self.ranks or min(self.ranks) < 1:
            raise ValueError(f"a search space needs layers, ranks and LoRAs of at least one, got {self}")

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Every (n, r) with n >= 1 and n * r at most `max_total_rank`, smallest rank first."""
        return tuple(
            (n, r) for r in sorted(self.ranks) for n in range(1, self.max_loras + 1) if n * r <= self.max_total_rank
        )

    @property
    def trained_count(self) -> int:
        """Number of points other than the base."""
        return ((1 << self.n_layers) - 1 if self.search_layers else 1) * len(self.sizes)

    @property
    def trains_something(self) -> bool:
        """Whether there is any point but the base: false where even the smallest rank is too large."""
        return bool(self.sizes)

    @property
    def base(self) -> Configuration:
        return Configuration.base(self.n_layers)

    def contains(self, configuration: Configuration) -> bool:
        """Whether this very configuration is a point of the space (the base only in its normalised form)."""
        if len(configuration.layers) != self.n_layers:
            return False
        if configuration.is_base:
            return configuration == self.base
        if not self.search_layers and not all(configuration.layers):
            return False
        return (configuration.n, configuration.r) in self.sizes

    def trained_points(self) -> Iterator[Configuration]:
        """All points but the base, in a fixed order. Only for small spaces: there are `trained_count` of them."""
        for layers in product((False, True) if self.search_layers else (True,), repeat=self.n_layers):
            if any(layers):
                for n, r in self.sizes:
                    yield Configuration(layers, n, r)

    def random(self, rng: random.Random) -> Configuration:
        """A random point other than the base.

        The number of active layers is drawn first, uniformly: a coin per layer would give half of them nearly always.
        Then r among the ranks that fit, then n among those that fit with r.

        Raises:
            ValueError: the space holds the base only.
        """
        active = set(rng.sample(range(self.n_layers), rng.randint(1, self.n_layers)))
        return self.point(active, rng.random(), rng.random())

    def point(self, active: set[int], rank_share: float, loras_share: float) -> Configuration:
        """The point with these active layers, and r and n at these shares (0..1, below 1) of what fits.

        Where layers are not searched, `active` does not count.

        Raises:
            ValueError: the space holds the base only.
        """
        if not self.trains_something:
            raise ValueError(f"no rank of {self.ranks} fits a total rank of {self.max_total_rank}")
        ranks = sorted({r for _, r in self.sizes})
        r = ranks[int(rank_share * len(ranks))]
        n = 1 + int(loras_share * sum(rank == r for _, rank in self.sizes))
        return Configuration(tuple(not self.search_layers or layer in active for layer in range(self.n_layers)), n, r)

    def neighbours(self, configuration: Configuration) -> list[Configuration]:
        """The points one move away, the base left out; a symmetric relation among trained points.

        A move flips one layer, moves one active layer's LoRAs to an inactive one, or changes (n, r) to any other pair
        that fits. The base's neighbours have one active layer and one LoRA; without layers to search, the others are
        each other's neighbours.
        """
        if not self.search_layers:
            return [point for point in self.trained_points() if point != configuration]
        if configuration.is_base:
            return [
                Configuration(_flip(self.base.layers, layer), n, r)
                for layer in range(self.n_layers)
                for n, r in self.sizes
                if n == 1
            ]
        layers, n, r = configuration.layers, configuration.n, configuration.r
        on = [i for i, active in enumerate(layers) if active]
        off = [i for i, active in enumerate(layers) if not active]
        bits = [_flip(layers, i) for i in range(self.n_layers)] + [_flip(layers, i, j) for i, j in product(on, off)]
        moved = [Configuration(changed, n, r) for changed in bits if any(changed)]
        return moved + [Configuration(layers, *size) for size in self.sizes if size != (n, r)]

    def encode(self, configurations: Sequence[Configuration]) -> Tensor:
        """Configurations as a surrogate sees them: `AXES` first, then a narrow axis for each layer.

        Each axis is something that a score may depend on alone, for a sparse prior keeps few of them. A user's trials
        are too few to learn what each layer does, and a stack's size or the place of its lowest layer would be a sum
        over all of their bits, so these are axes themselves. A bit a quarter as wide needs an inverse squared length
        scale sixteen times as large, which the prior leaves to strong evidence. Bits still tell all points apart. The
        base is zero, and in the middle where it has no place.

        Returns:
            m x (len(AXES) + n_layers) tensor of float64 in [0, 1], no two points alike.
        """
        import torch

        rows = [
            [*self._shape(configuration), *(LAYER_WIDTH * active for active in configuration.layers)]
            for configuration in configurations
        ]
        return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), len(AXES) + self.n_layers)

    def _shape(self, configuration: Configuration) -> tuple[float, ...]:
        """Where a configuration is on each of `AXES`."""
        if configuration.is_base:
            return (0.0, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0)
        active, total_rank = configuration.active_layers, configuration.total_rank
        places = [layer / max(self.n_layers - 1, 1) for layer in active]
        low, high = min(self.ranks), max(self.ranks)
        largest = max(self.max_total_rank, low)
        return (
            len(active) / self.n_layers,
            places[0],
            places[-1],
            math.fsum(places) / len(places),
            math.log1p(len(active) * total_rank) / math.log1p(self.n_layers * largest),
            # Half the smallest rank is zero, so that the smallest stack differs from the base on this axis too.
            math.log(2 * total_rank / low) / math.log(2 * largest / low),
            math.log(configuration.r / low) / math.log(high / low) if high > low else 0.0,
        )


def _flip(layers: tuple[bool, ...], *positions: int) -> tuple[bool, ...]:
    return tuple(active != (i in positions) for i, active in enumerate(layers))
