"""Attention over sequences laid end to end, without a padded token: what transformers calls inside the base's layers.

Sequences of any lengths lie in one row (packed); each looks only at itself and back. While decoding, every row has one
new token and looks at its own keys and values (engine.key_values). Which of the two holds is a layout, set thread by
thread. Must not know stacks, prompts or what the sequences are for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward

IMPLEMENTATION = "milp_layout"
"""The name under which transformers knows this attention."""

LONGEST_BY_PRODUCTS = 512
"""Tokens up to which a CPU multiplies plain matrices, sequence by sequence: in bfloat16 four times as fast as torch's
fused kernel, forward and backward, at 95 tokens (benchmarks/README.md). Beyond, the square of the length would cost
memory."""

_current = threading.local()


@dataclass(frozen=True, slots=True)
class Kind:
    """How one attention layer attends.

    Args:
        layer: its place among the base's attention layers, from 0.
        scale: factor of the scores before the softmax.
        window: how many tokens back it looks, its own included; None for all.
        softcap: the scores are bent to stay within plus or minus so much (Gemma 2); None for no bound.
    """

    layer: int
    scale: float
    window: int | None
    softcap: float | None


class Layout(Protocol):
    """Where the tokens of a forward lie, and what each may look at."""

    def positions(self, device: torch.device) -> Tensor:
        """Each token's place in its own sequence: rows x tokens."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, kind: Kind) -> Tensor:
        """Attention output (rows x tokens x heads x dim) of query, key and value (rows x heads x tokens x dim)."""


class Packed:
    """Sequences end to end in one row.

    Args:
        lengths: tokens of each, in order.
        keep: is given each layer's kind, keys and values (1 x heads x tokens x dim): a prompt's are kept for decoding.
    """

    def __init__(self, lengths: Sequence[int], keep: Callable[[Kind, Tensor, Tensor], None] | None = None) -> None:
        self.lengths = tuple(lengths)
        self._keep = keep

    def positions(self, device: torch.device) -> Tensor:
        return torch.cat([torch.arange(length, device=device) for length in self.lengths]).unsqueeze(0)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, kind: Kind) -> Tensor:
        if self._keep is not None:
            self._keep(kind, key, value)
        groups = query.shape[1] // key.shape[1]
        if groups > 1:
            key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        if kind.softcap is not None:
            return _capped(query, key, value, self.lengths, kind)
        if query.device.type == "cpu" and max(self.lengths) <= LONGEST_BY_PRODUCTS:
            product: Tensor = _Products.apply(  # type: ignore[no-untyped-call]
                query[0], key[0], value[0], self.lengths, kind
            )
            return product.unsqueeze(0)
        return _padded(query, key, value, self.lengths, kind)


@contextmanager
def laid_out(layout: Layout) -> Iterator[None]:
    """Attend by `layout` in the forwards that this thread makes inside."""
    before = getattr(_current, "layout", None)
    _current.layout = layout
    try:
        yield
    finally:
        _current.layout = before


def visible(rows: Tensor, columns: Tensor, window: int | None) -> Tensor:
    """Whether the token at place `rows` may look at the one at `columns` (both broadcast): itself and back."""
    back = rows - columns
    return back >= 0 if window is None else (back >= 0) & (back < window)


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """What transformers calls. Outside of a layout, its own attention."""
    layout: Layout | None = getattr(_current, "layout", None)
    if layout is None:
        if softcap is not None:  # which transformers' SDPA refuses
            mask = None if attention_mask is None else torch.where(attention_mask, 0.0, float("-inf")).to(query.dtype)
            eager, _ = eager_attention_forward(module, query, key, value, mask, scaling=scaling, softcap=softcap)
            return eager, None
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **others)
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    return layout.attend(query, key, value, Kind(module.layer_idx, scale, sliding_window, softcap)), None


def _mask(*arguments: Any, **named: Any) -> Tensor | None:
    """A layout needs no mask; making one would cost the square of all tokens."""
    if getattr(_current, "layout", None) is not None:
        return None
    mask: Tensor | None = sdpa_mask(*arguments, **{**named, "allow_is_causal_skip": False})
    return mask


AttentionInterface.register(IMPLEMENTATION, _attention)
AttentionMaskInterface.register(IMPLEMENTATION, _mask)


def _spans(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for length in lengths:
        yield start, start + length
        start += length


def _hidden_scores(length: int, window: int | None, like: Tensor) -> Tensor:
    """Length x length, minus infinity where a token may not look."""
    place = torch.arange(length, device=like.device)
    allowed = visible(place[:, None], place[None, :], window)
    return torch.zeros(length, length, device=like.device).masked_fill_(~allowed, float("-inf"))


class _Products(torch.autograd.Function):
    """softmax(Q K' scale) V of each sequence as plain products; softmax in float32. Heads x tokens x dim in, tokens x
    heads x dim out."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], kind: Kind) -> Tensor:
        heads, tokens, _ = query.shape
        out = query.new_empty(tokens, heads, value.shape[-1])
        hidden = _hidden_scores(max(lengths), kind.window, query)
        weights = []
        for start, stop in _spans(lengths):
            width = stop - start
            scores = torch.matmul(query[:, start:stop], key[:, start:stop].transpose(1, 2)).float()
            scores.mul_(kind.scale).add_(hidden[:width, :width])
            weight = torch.softmax(scores, dim=-1).to(query.dtype)
            out[start:stop] = torch.matmul(weight, value[:, start:stop]).transpose(0, 1)
            weights.append(weight)
        ctx.save_for_backward(query, key, value, *weights)
        ctx.lengths, ctx.scale = lengths, kind.scale
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *weights = ctx.saved_tensors
        (grad,) = gradients
        d_query, d_key, d_value = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        for (start, stop), weight in zip(_spans(ctx.lengths), weights, strict=True):
            own = slice(start, stop)
            out = grad[own].transpose(0, 1)
            d_value[:, own] = torch.matmul(weight.transpose(1, 2), out)
            d_weight = torch.matmul(out, value[:, own].transpose(1, 2)).float()
            weight32 = weight.float()
            # Softmax: dS = P * (dP - sum(dP * P)), row by row.
            d_weight.mul_(weight32)
            d_scores = d_weight.sub_(weight32.mul_(d_weight.sum(dim=-1, keepdim=True))).mul_(ctx.scale).to(query.dtype)
            d_query[:, own] = torch.matmul(d_scores, key[:, own])
            d_key[:, own] = torch.matmul(d_scores.transpose(1, 2), query[:, own])
        return d_query, d_key, d_value, None, None


def _capped(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], kind: Kind) -> Tensor:
    """As `_Products`, with bent scores; torch's own derivatives, for few bases need it."""
    parts = []
    for start, stop in _spans(lengths):
        scores = torch.matmul(query[0, :, start:stop], key[0, :, start:stop].transpose(1, 2)).float() * kind.scale
        scores = (kind.softcap or 1.0) * torch.tanh(scores / (kind.softcap or 1.0))
        weight = torch.softmax(scores + _hidden_scores(stop - start, kind.window, query), dim=-1).to(query.dtype)
        parts.append(torch.matmul(weight, value[0, :, start:stop]).transpose(0, 1))
    return torch.cat(parts).unsqueeze(0)


def _padded(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], kind: Kind) -> Tensor:
    """By torch's fused kernels, which want one length: padded on the right for the attention alone."""
    width = max(lengths)
    place = torch.arange(width, device=query.device)
    real = place < torch.tensor(lengths, device=query.device)[:, None]

    def spread(packed: Tensor) -> Tensor:
        rows = packed.new_zeros(len(lengths), width, packed.shape[1], packed.shape[3])
        rows[real] = packed[0].transpose(0, 1)
        return rows.transpose(1, 2)

    mask = None if kind.window is None or kind.window >= width else visible(place[:, None], place, kind.window)
    out = scaled_dot_product_attention(
        spread(query), spread(key), spread(value), attn_mask=mask, is_causal=mask is None, scale=kind.scale
    )
    return out.transpose(1, 2)[real].unsqueeze(0)
