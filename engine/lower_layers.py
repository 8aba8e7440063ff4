"""What the layers below a stack give: the same for every candidate, in every pass, so computed once and kept.

The base is frozen, and a token's state before a stack's lowest layer does not depend on the stack. Must not know
losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import torch
from torch import Tensor

from engine.attention import Packed
from engine.base import Base
from engine.batches import Batch, Example, lay_out
from engine.grouped import Route
from engine.layers import Span

MOST_BYTES = 512 << 20
"""Most memory for the states before one layer. A longer history has all its layers run."""
EXAMPLES_AT_ONCE = 16
"""Examples in a forward without gradients: more are no faster on a CPU, and large vocabularies' logits take memory."""
LAYERS_KEPT = 4
"""For how many layers the states are kept, the least recently used going first."""


class LowerLayers:
    """The states of some examples before any layer. Threads may share it."""

    def __init__(self, base: Base, examples: Sequence[Example]) -> None:
        self.examples = tuple(examples)
        self._base = base
        self._states: dict[int, list[Tensor]] = {}
        self._lock = Lock()
        tokens = sum(example.length for example in examples)
        self._too_large = tokens * base.hidden_size * base.dtype.itemsize > MOST_BYTES

    def batch(self, chosen: Sequence[int]) -> Batch:
        """The chosen examples end to end."""
        return lay_out([self.examples[i] for i in chosen])

    def span(self, first_layer: int, chosen: Sequence[int]) -> Span | None:
        """The layers from `first_layer` on, given the chosen examples' states before it; None: run all layers."""
        if first_layer == 0 or self._too_large:
            return None
        states = self._before(first_layer)
        return Span(first_layer, self._base.n_layers, torch.cat([states[i] for i in chosen]).unsqueeze(0))

    def _before(self, layer: int) -> list[Tensor]:
        """Each example's states (tokens x hidden) before `layer`."""
        with self._lock:
            states = self._states.pop(layer, None)
            if states is None:
                below = max((known for known in self._states if known < layer), default=0)
                states = self._computed(below, layer)
            self._states[layer] = states
            while len(self._states) > LAYERS_KEPT:
                del self._states[next(iter(self._states))]
        return states

    @torch.no_grad()
    def _computed(self, first: int, layer: int) -> list[Tensor]:
        found: list[Tensor] = []
        for start in range(0, len(self.examples), EXAMPLES_AT_ONCE):
            batch = self.batch(range(len(self.examples))[start : start + EXAMPLES_AT_ONCE]).to(self._base.device)
            entry = torch.cat(self._states[first][start : start + EXAMPLES_AT_ONCE]).unsqueeze(0) if first else None
            span = Span(first, layer, entry)
            self._base.hidden_states(batch.ids.unsqueeze(0), Packed(batch.lengths), route=Route.base(), span=span)
            if span.reached is None:
                raise ValueError(f"there is no layer between {first} and {layer}")
            found += span.reached[0].split(batch.lengths)
        return found
