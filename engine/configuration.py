"""A configuration: which layers carry LoRAs, how many, and of which rank (theta; MiLP, section 3.3).

Knows no tensors, so that the search and the API can use it without loading torch.
"""

from __future__ import annotations

from dataclasses import dataclass

RANKS: tuple[int, ...] = (8, 16, 32, 64, 96)
MAX_LORAS = 32
"""Search space of the paper (Table 2): ranks, and the largest number of LoRAs per projection."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Where and how large a user's stack is.

    Args:
        layers: one flag per decoder layer of the base, True where the layer carries LoRAs.
        n: LoRAs per feed-forward projection of an active layer, 0..32.
        r: rank of each of them.

    No active layer, or n = 0, is the base itself: `is_base` is then true, and `normalised` gives the one
    point that stands for all of them.
    """

    layers: tuple[bool, ...]
    n: int
    r: int

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("a configuration needs one flag per decoder layer, got none")
        if self.n < 0 or self.r < 1:
            raise ValueError(f"n must be at least 0 and r at least 1, got n={self.n}, r={self.r}")

    @property
    def is_base(self) -> bool:
        return self.n == 0 or not any(self.layers)

    @property
    def total_rank(self) -> int:
        """Rank of the concatenated stack at each active projection (n * r)."""
        return 0 if self.is_base else self.n * self.r

    @property
    def active_layers(self) -> tuple[int, ...]:
        return () if self.is_base else tuple(i for i, active in enumerate(self.layers) if active)

    @property
    def layer_bits(self) -> str:
        """The layers as text, first layer first: '0110'."""
        return "".join("1" if active else "0" for active in self.layers)

    def normalised(self) -> Configuration:
        """This configuration, or the one point that stands for the base if it trains nothing."""
        return Configuration.base(len(self.layers)) if self.is_base else self

    @classmethod
    def base(cls, n_layers: int) -> Configuration:
        """The configuration without any LoRA, of a base with `n_layers` decoder layers."""
        return cls((False,) * n_layers, 0, RANKS[0])

    @classmethod
    def default_lora(cls, n_layers: int) -> Configuration:
        """One ordinary LoRA on every layer (n = 1, r = 16): the control every user is compared with."""
        return cls((True,) * n_layers, 1, 16)

    @classmethod
    def from_bits(cls, layer_bits: str, n: int, r: int) -> Configuration:
        """Inverse of `layer_bits`."""
        if set(layer_bits) - {"0", "1"}:
            raise ValueError(f"layer bits are 0 and 1 only, got {layer_bits!r}")
        return cls(tuple(bit == "1" for bit in layer_bits), n, r)

    def __str__(self) -> str:
        return f"layers={self.layer_bits} n={self.n} r={self.r}"
