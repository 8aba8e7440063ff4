"""Rows decoded side by side, each with its own stack: they join and leave while the others go on.

The key-value cache is padded on the left, so that all rows end at the same place: joining pads the shorter side,
leaving selects rows and trims what nobody needs. Rows of one stack lie side by side (engine.grouped). Must not know
queues, threads or users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad as pad_tensor
from transformers import DynamicCache

from engine.base import Base
from engine.errors import TrainingStoppedError
from engine.grouped import Route
from engine.stack import Stack

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen: temperature 0 is greedy; `seed` makes sampling repeatable."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


@dataclass(eq=False)
class Row:
    """One answer in the making.

    Args:
        prompt: ids of the prompt.
        stack: the stack it is answered with; None is the base.
        max_new_tokens: longest answer, tokens.
    """

    prompt: Sequence[int]
    stack: Stack | None
    max_new_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    tokens: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    _generator: torch.Generator | None = None

    def choose(self, logits: Tensor) -> int:
        """The next token from its logits (vocabulary)."""
        if self.sampling.temperature <= 0:
            return int(logits.argmax())
        if self._generator is None:
            self._generator = torch.Generator()
            self._generator.manual_seed(
                self.sampling.seed
            ) if self.sampling.seed is not None else self._generator.seed()
        probabilities = torch.softmax(logits.cpu() / self.sampling.temperature, dim=-1)
        ordered, ids = probabilities.sort(descending=True)
        # Keep the fewest most likely tokens whose mass reaches top_p (nucleus sampling, Holtzman et al. 2020).
        ordered[ordered.cumsum(0) - ordered >= self.sampling.top_p] = 0
        return int(ids[torch.multinomial(ordered, 1, generator=self._generator)])


class DecodingBatch:
    """The rows now being decoded, their cache and their routing."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._cache: Any = None
        self._mask = torch.zeros(0, 0, dtype=torch.long)
        self._route = Route.base()
        self.rows: list[Row] = []

    @torch.inference_mode()
    def admit(self, rows: Sequence[Row]) -> None:
        """Prefill `rows`, give each its first token, and let them join."""
        if not rows:
            return
        joining = DecodingBatch(self._base)
        joining.rows = sorted(rows, key=lambda row: id(row.stack))
        joining._route = _route(joining.rows)
        joining._prefill()
        self._join(joining)

    @torch.inference_mode()
    def step(self) -> None:
        """One more token for every row."""
        if not self.rows:
            return
        last = torch.tensor([[row.tokens[-1]] for row in self.rows], device=self._base.device)
        self._mask = pad_tensor(self._mask, (0, 1), value=1)
        positions = self._mask.sum(dim=1, keepdim=True) - 1
        self._forward(last, positions)

    @torch.inference_mode()
    def release_finished(self) -> list[Row]:
        """Let the rows that have a finish reason leave, and give their place free; returns them."""
        finished = [row for row in self.rows if row.finish_reason is not None]
        if finished:
            self._keep([i for i, row in enumerate(self.rows) if row.finish_reason is None])
        return finished

    def _prefill(self) -> None:
        width = max(len(row.prompt) for row in self.rows)
        ids = torch.full((len(self.rows), width), self._base.pad_id)
        mask = torch.zeros((len(self.rows), width), dtype=torch.long)
        for i, row in enumerate(self.rows):
            ids[i, width - len(row.prompt) :] = torch.tensor(row.prompt)
            mask[i, width - len(row.prompt) :] = 1
        self._cache = DynamicCache()
        self._mask = mask.to(self._base.device)
        self._forward(ids.to(self._base.device), (self._mask.cumsum(1) - 1).clamp(min=0))

    def _forward(self, ids: Tensor, positions: Tensor) -> None:
        hidden = self._base.hidden_states(
            ids, route=self._route, attention_mask=self._mask, position_ids=positions, cache=self._cache
        )
        logits = self._base.logits(hidden[:, -1])
        greedy = logits.argmax(dim=-1).tolist()
        for i, row in enumerate(self.rows):
            token = greedy[i] if row.sampling.temperature <= 0 else row.choose(logits[i])
            row.tokens.append(token)
            if token in self._base.end_ids:
                row.tokens.pop()
                row.finish_reason = "stop"
            elif len(row.tokens) >= row.max_new_tokens:
                row.finish_reason = "length"

    def _join(self, other: DecodingBatch) -> None:
        if not self.rows:
            self.rows, self._cache, self._mask, self._route = other.rows, other._cache, other._mask, other._route
            return
        width = max(self._mask.shape[1], other._mask.shape[1])
        self._mask = torch.cat([_pad_left(self._mask, width, dim=1), _pad_left(other._mask, width, dim=1)])
        for mine, theirs in zip(self._cache.layers, other._cache.layers, strict=True):
            mine.keys = torch.cat([_pad_left(mine.keys, width, dim=2), _pad_left(theirs.keys, width, dim=2)])
            mine.values = torch.cat([_pad_left(mine.values, width, dim=2), _pad_left(theirs.values, width, dim=2)])
        self.rows = self.rows + other.rows
        self._keep(sorted(range(len(self.rows)), key=lambda i: id(self.rows[i].stack)))

    def _keep(self, order: list[int]) -> None:
        """Keep the rows `order` names, in that order, and trim padding that no row needs any more."""
        self.rows = [self.rows[i] for i in order]
        self._route = _route(self.rows)
        if not order:
            self._cache, self._mask = None, self._mask[:0]
            return
        index = torch.tensor(order, device=self._base.device)
        mask = self._mask[index]
        spare = mask.shape[1] - int(mask.sum(dim=1).max())
        self._mask = mask[:, spare:]
        for layer in self._cache.layers:
            layer.keys = layer.keys[index][:, :, spare:]
            layer.values = layer.values[index][:, :, spare:]


def generate(
    base: Base, rows: Sequence[Row], *, max_rows: int = 64, should_stop: Callable[[], bool] = lambda: False
) -> None:
    """Answer all rows, at most `max_rows` side by side; afterwards each has its tokens and finish reason.

    Raises:
        TrainingStoppedError: `should_stop` said so between two tokens.
    """
    # Long prompts first: rows of like length share a batch, and the short ones fill up its end.
    waiting = sorted(rows, key=lambda row: len(row.prompt))
    batch = DecodingBatch(base)
    while waiting or batch.rows:
        if should_stop():
            raise TrainingStoppedError("answering was stopped")
        # Joining copies the cache, so places are refilled many at a time.
        free = max_rows - len(batch.rows)
        if waiting and free >= max(1, max_rows // 4):
            batch.admit([waiting.pop() for _ in range(min(free, len(waiting)))])
        else:
            batch.step()
        batch.release_finished()


def _route(rows: Sequence[Row]) -> Route:
    groups: list[tuple[int, Mapping[str, Tensor], Mapping[str, Tensor]]] = []
    start = 0
    for i in range(1, len(rows) + 1):
        if i == len(rows) or rows[i].stack is not rows[start].stack:
            stack = rows[start].stack
            groups.append((i - start, stack.a, stack.b) if stack is not None else (i - start, {}, {}))
            start = i
    return Route.of(groups)


def _pad_left(tensor: Tensor, width: int, *, dim: int) -> Tensor:
    missing = width - tensor.shape[dim]
    if missing == 0:
        return tensor
    return pad_tensor(tensor, (0, 0) * (tensor.dim() - 1 - dim) + (missing, 0))
