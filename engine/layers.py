"""Running only some of the base's layers: those below a stack's lowest layer give every candidate the same, so they
run once and their output is kept.

Knows the decoder's layers as modules; must not know what they compute.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(slots=True)
class Span:
    """Layers first .. stop - 1 of a forward; the others pass on what they get.

    Args:
        entry: what layer `first` is given instead of what comes from below (rows x tokens x hidden).
        reached: what came out of the last layer that ran, once the forward is done.
    """

    first: int
    stop: int
    entry: Tensor | None = None
    reached: Tensor | None = None


class LayerGate:
    """Lets forwards run a span of the layers only, thread by thread."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._spans = threading.local()
        for index, layer in enumerate(layers):
            layer.forward = self._gated(index, layer.forward)

    @contextmanager
    def only(self, span: Span | None) -> Iterator[None]:
        """In the forwards made inside, run `span`; None runs every layer."""
        self._spans.current = span
        try:
            yield
        finally:
            self._spans.current = None

    def _gated(self, index: int, forward: Callable[..., Any]) -> Callable[..., Any]:
        def gated(hidden: Tensor, *arguments: Any, **named: Any) -> Any:
            span: Span | None = getattr(self._spans, "current", None)
            if span is None:
                return forward(hidden, *arguments, **named)
            if not span.first <= index < span.stop:
                return hidden
            if index == span.first and span.entry is not None:
                hidden = span.entry
            span.reached = forward(hidden, *arguments, **named)
            return span.reached

        return gated
