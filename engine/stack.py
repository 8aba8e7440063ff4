"""A user's stack: the LoRAs of one configuration, concatenated, and whether they fit a base.

n LoRAs of rank r on a projection are the same function as one of rank n*r (MiLP, equation of section 3.2):
sum_k B_k A_k x = [B_1 .. B_n] [A_1; ..; A_n] x. So a stack keeps one A (n*r x d_in) and one B (d_out x n*r) for each
projection of an active layer. Must not know files, training or decoding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.configuration import Configuration
from engine.errors import StackMismatchError
from engine.projections import Projection


@dataclass(frozen=True)
class Stack:
    """The concatenated LoRAs of one configuration.

    Args:
        configuration: layers, n and r; `total_rank` R = n * r.
        a: projection name -> A, R x d_in.
        b: projection name -> B, d_out x R.
    """

    configuration: Configuration
    a: Mapping[str, Tensor]
    b: Mapping[str, Tensor]

    @property
    def parameters(self) -> int:
        return sum(t.numel() for t in (*self.a.values(), *self.b.values()))

    def to(self, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Stack:
        """The same stack on another device or in another precision."""
        return Stack(
            self.configuration,
            {name: t.to(device=device, dtype=dtype) for name, t in self.a.items()},
            {name: t.to(device=device, dtype=dtype) for name, t in self.b.items()},
        )


def active_projections(projections: Iterable[Projection], configuration: Configuration) -> list[Projection]:
    """The projections that `configuration` puts LoRAs on, in the base's order."""
    active = set(configuration.active_layers)
    return [projection for projection in projections if projection.layer in active]


def parameter_count(projections: Iterable[Projection], configuration: Configuration) -> int:
    """Trained parameters of a stack of this configuration."""
    chosen = active_projections(projections, configuration)
    return sum(configuration.total_rank * (p.d_in + p.d_out) for p in chosen)


def check_fits(stack: Stack, projections: Iterable[Projection], n_layers: int) -> None:
    """Refuse a stack that does not belong on these projections.

    Raises:
        StackMismatchError: a missing or unknown projection, a wrong shape, or a value that is not finite.
    """
    configuration = stack.configuration
    if len(configuration.layers) != n_layers:
        raise StackMismatchError(
            f"the stack was made for a base with {len(configuration.layers)} layers, this one has {n_layers}: "
            "load it onto the base it was trained on, or personalise again."
        )
    expected = {p.name: p for p in active_projections(projections, configuration)}
    for side, tensors in (("A", stack.a), ("B", stack.b)):
        if unknown := sorted(set(tensors) - set(expected)):
            raise StackMismatchError(f"the stack has a {side} for {unknown[0]!r}, which is no active projection here.")
        if missing := sorted(set(expected) - set(tensors)):
            raise StackMismatchError(f"the stack has no {side} for {missing[0]!r}.")
        for name, tensor in tensors.items():
            p, rank = expected[name], configuration.total_rank
            shape = (rank, p.d_in) if side == "A" else (p.d_out, rank)
            if tuple(tensor.shape) != shape:
                raise StackMismatchError(f"{side} of {name!r} has shape {tuple(tensor.shape)}, expected {shape}.")
            if not torch.isfinite(tensor).all():
                raise StackMismatchError(f"{side} of {name!r} has values that are not finite.")
