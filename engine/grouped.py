"""Many stacks on one base in one batch: each token of a batch goes through its own stack, at its true rank.

h = W x + B A x (MiLP, section 3.2; stacks are kept concatenated, see engine.stack). Tokens of one stack lie side by
side, so a batch is a few segments; a layer that a stack leaves out costs that stack nothing, and nothing is padded to
the largest rank. The same code serves training (candidates) and answering (users). Must not know how tokens came to be.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from engine.projections import Projection


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens start..stop of a batch, and the A (R x d_in) and B (d_out x R) they go through at one projection."""

    start: int
    stop: int
    a: Tensor
    b: Tensor


class Routing(Protocol):
    """Which tokens of a batch go through which stack."""

    def touches(self, name: str) -> bool:
        """Whether any token goes through a stack at this projection."""

    def add(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        """W x + B A x of a projection for a batch: x (tokens x d_in), y = W x (tokens x d_out).

        While decoding (no gradients) the sum may be made in place; while training it is a node of the graph.
        """


@dataclass(frozen=True)
class Route:
    """Stretches of tokens that go through one stack each: projection name -> its segments, in the batch's order."""

    segments: Mapping[str, Sequence[Segment]] = field(default_factory=dict)

    @classmethod
    def base(cls) -> Route:
        """Every token is computed by the base alone."""
        return cls()

    @classmethod
    def of(cls, groups: Iterable[tuple[int, Mapping[str, Tensor], Mapping[str, Tensor]]]) -> Route:
        """From (number of tokens, A by projection, B by projection) for each stack, in the batch's order.

        A group without tensors is of the base.
        """
        segments: dict[str, list[Segment]] = {}
        start = 0
        for tokens, a, b in groups:
            for name, matrix in a.items():
                segments.setdefault(name, []).append(Segment(start, start + tokens, matrix, b[name]))
            start += tokens
        return cls(segments)

    def touches(self, name: str) -> bool:
        return name in self.segments

    def add(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        segments = self.segments[name]
        if not torch.is_grad_enabled():
            for s in segments:
                y[s.start : s.stop].addmm_(linear(x[s.start : s.stop], s.a.to(x.dtype)), s.b.to(x.dtype).t())
            return y
        matrices = [matrix for s in segments for matrix in (s.a, s.b)]
        spans = [(s.start, s.stop) for s in segments]
        added: Tensor = _Added.apply(x, y, spans, *matrices)  # type: ignore[no-untyped-call]  # torch's own
        return added


class StackRouter:
    """Hooks on the base's projections that add each row's stack while a route is set, thread by thread."""

    def __init__(self, model: nn.Module, projections: Iterable[Projection]) -> None:
        # Each thread routes its own forwards: the module is shared, the batch is not.
        self._routes = threading.local()
        for projection in projections:
            model.get_submodule(projection.name).register_forward_hook(self._hook(projection.name))

    @contextmanager
    def routing(self, route: Routing) -> Iterator[None]:
        """Send rows through `route` in the forwards made inside."""
        self._routes.current = route
        try:
            yield
        finally:
            self._routes.current = None

    def _hook(self, name: str) -> Any:
        def add_stacks(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            route: Routing | None = getattr(self._routes, "current", None)
            if route is None or not route.touches(name):
                return None
            return route.add(name, inputs[0].flatten(0, -2), output.flatten(0, -2)).view(output.shape)

        return add_stacks


class _Added(torch.autograd.Function):
    """y + B A x, segment by segment, as one node of the graph. Parameters may be kept in a higher precision than x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, spans: Sequence[tuple[int, int]], *matrices: Tensor) -> Tensor:
        used = [matrix.to(x.dtype) for matrix in matrices]
        out, narrow, end = torch.empty_like(y), [], 0
        for (start, stop), a, b in zip(spans, used[::2], used[1::2], strict=True):
            out[end:start] = y[end:start]
            inner = linear(x[start:stop], a)
            torch.addmm(y[start:stop], inner, b.t(), out=out[start:stop])
            narrow.append(inner)
            end = stop
        out[end:] = y[end:]
        ctx.save_for_backward(x, *used, *narrow)
        ctx.spans, ctx.kept = spans, [matrix.dtype for matrix in matrices]
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (grad,) = gradients
        x, *saved = ctx.saved_tensors
        count = len(ctx.kept)
        used, narrow = saved[:count], saved[count:]
        d_x = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        d_matrices: list[Tensor] = []
        for (start, stop), a, b, inner in zip(ctx.spans, used[::2], used[1::2], narrow, strict=True):
            d_out = grad[start:stop]
            d_inner = d_out @ b
            d_matrices += [d_inner.t() @ x[start:stop], d_out.t() @ inner]
            if d_x is not None:
                torch.mm(d_inner, a, out=d_x[start:stop])
        kept = (gradient.to(dtype) for gradient, dtype in zip(d_matrices, ctx.kept, strict=True))
        return d_x, grad, None, *kept
