"""Many stacks on one base in one batch: each row of a batch goes through its own stack, at its true rank.

h = W x + B A x (MiLP, section 3.2; stacks are kept concatenated, see engine.stack). Rows of one stack lie side by
side, so a batch is a few segments; a layer that a stack leaves out costs that stack nothing, and nothing is padded to
the largest rank. The same code serves training (candidates) and answering (users). Must not know how rows came to be.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from engine.projections import Projection


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows start..stop of a batch, and the A (R x d_in) and B (d_out x R) they go through at one projection."""

    start: int
    stop: int
    a: Tensor
    b: Tensor


@dataclass(frozen=True)
class Route:
    """Which rows of a batch go through which stack: projection name -> its segments, in row order."""

    segments: Mapping[str, Sequence[Segment]] = field(default_factory=dict)

    @classmethod
    def base(cls) -> Route:
        """Every row is answered by the base alone."""
        return cls()

    @classmethod
    def of(cls, groups: Iterable[tuple[int, Mapping[str, Tensor], Mapping[str, Tensor]]]) -> Route:
        """From (number of rows, A by projection, B by projection) for each stack, in the batch's row order.

        A group without tensors is rows of the base.
        """
        segments: dict[str, list[Segment]] = {}
        start = 0
        for rows, a, b in groups:
            for name, matrix in a.items():
                segments.setdefault(name, []).append(Segment(start, start + rows, matrix, b[name]))
            start += rows
        return cls(segments)


class StackRouter:
    """Hooks on the base's projections that add each row's stack while a route is set, thread by thread."""

    def __init__(self, model: nn.Module, projections: Iterable[Projection]) -> None:
        # Each thread routes its own forwards: the module is shared, the batch is not.
        self._routes = threading.local()
        for projection in projections:
            model.get_submodule(projection.name).register_forward_hook(self._hook(projection.name))

    @contextmanager
    def routing(self, route: Route) -> Iterator[None]:
        """Send rows through `route` in the forwards made inside."""
        self._routes.current = route
        try:
            yield
        finally:
            self._routes.current = None

    def _hook(self, name: str) -> Any:
        def add_stacks(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            route: Route | None = getattr(self._routes, "current", None)
            segments = route.segments.get(name) if route is not None else None
            return add_segments(inputs[0], output, segments) if segments else None

        return add_stacks


def add_segments(x: Tensor, y: Tensor, segments: Sequence[Segment]) -> Tensor:
    """W x + B A x for a batch: x (rows x tokens x d_in), y = W x (rows x tokens x d_out).

    While decoding (no gradients) the sum is made in place; while training out of place, once for the whole batch.
    """
    if not torch.is_grad_enabled():
        for s in segments:
            y[s.start : s.stop] += _delta(x[s.start : s.stop], s)
        return y
    if len(segments) == 1 and segments[0].start == 0 and segments[0].stop == x.shape[0]:
        return y + _delta(x, segments[0])
    parts, end = [], 0
    for s in segments:
        if s.start > end:
            parts.append(y[end : s.start])
        parts.append(y[s.start : s.stop] + _delta(x[s.start : s.stop], s))
        end = s.stop
    if end < x.shape[0]:
        parts.append(y[end:])
    return torch.cat(parts)


def _delta(x: Tensor, segment: Segment) -> Tensor:
    """B A x in the precision of x; parameters may be kept in a higher one."""
    return linear(linear(x, segment.a.to(x.dtype)), segment.b.to(x.dtype))
