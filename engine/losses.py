"""What a stack loses on samples: cross-entropy of their tokens, while training and on held-out samples alike.

Knows batches and routes; must not know optimisers, schedules or scores of text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from engine import fused_loss
from engine.attention import Packed
from engine.base import Base
from engine.batches import Batch, Example, encode_example
from engine.errors import TrainingStoppedError
from engine.grouped import Route
from engine.history import Sample
from engine.layers import Span
from engine.lower_layers import EXAMPLES_AT_ONCE, LowerLayers
from engine.prompts import Prompting, query_alone

MOST_LOGITS = 1 << 27
"""Numbers, half a gigabyte: of large vocabularies and many candidates there would be many times as many."""


def target_losses(
    base: Base, route: Route, batch: Batch, span: Span | None = None, *, smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy of every target of the batch, in nats: 1-d, in their order.

    Logits are computed for these tokens only, and where they are many, some at a time: then once more going back.

    Args:
        smoothing: share of each target that is spread evenly over the vocabulary (Szegedy and others, 2016).
    """
    hidden = base.hidden_states(batch.ids.unsqueeze(0), Packed(batch.lengths), route=route, span=span)[0]
    before = hidden[batch.before_target]
    if fused_loss.takes(head := base.plain_head, before):
        return fused_loss.cross_entropies(head, before, batch.targets, smoothing)
    at_once = max(1, MOST_LOGITS // base.vocabulary_size)
    if len(batch.targets) <= at_once:
        return _cross_entropies(base, before, batch.targets, smoothing)
    parts = zip(before.split(at_once), batch.targets.split(at_once), strict=True)
    return torch.cat([checkpoint(_cross_entropies, base, *part, smoothing, use_reentrant=False) for part in parts])


def _cross_entropies(base: Base, hidden: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    return cross_entropy(base.logits(hidden), targets, reduction="none", label_smoothing=smoothing)


@torch.no_grad()
def example_losses(
    base: Base,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    lower: LowerLayers,
    first_layer: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[float]:
    """Mean loss (nats a response token) of each of `lower`'s examples through one stack; without tensors, the base.

    Args:
        first_layer: the lowest layer the stack is on; those below it are taken from `lower`.

    Raises:
        TrainingStoppedError: `should_stop` said so.
    """
    result = [0.0] * len(lower.examples)
    order = sorted(range(len(result)), key=lambda i: lower.examples[i].length)
    for start in range(0, len(order), EXAMPLES_AT_ONCE):
        if should_stop():
            raise TrainingStoppedError("evaluation was stopped")
        chunk = order[start : start + EXAMPLES_AT_ONCE]
        batch = lower.batch(chunk).to(base.device)
        losses = target_losses(base, Route.of([(len(batch.ids), a, b)]), batch, lower.span(first_layer, chunk))
        sums = torch.zeros(len(chunk), device=losses.device).index_add_(0, batch.example, losses)
        means = sums / torch.bincount(batch.example, minlength=len(chunk))
        for i, mean in zip(chunk, means.tolist(), strict=True):
            result[i] = mean
    return result


def encode_samples(
    base: Base, samples: Sequence[Sample], max_tokens: int, prompt: Prompting = query_alone
) -> list[Example]:
    """Samples as a stack sees them: the query as `prompt` puts it, then the response."""
    limit = min(max_tokens, base.context_length)
    return [encode_example(base.format, prompt(s), s.response, limit) for s in samples]
