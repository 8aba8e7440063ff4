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
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward
from transformers.models.llama.modeling_llama import LlamaAttention

from engine import fused_attention
from engine.fused_attention import Heads, Rotary
from engine.packed_weights import side_by_side
from engine.sequences import Group, group_of, groups_of, spans_of

IMPLEMENTATION = "milp_layout"
"""The name under which transformers knows this attention."""

LONGEST_BY_PRODUCTS = 512
"""Tokens up to which a CPU multiplies plain matrices: in bfloat16 three times as fast as torch's fused kernel, forward
and backward, at 95 tokens (`make bench-kernels`). Beyond, the square of the length would cost memory."""

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

    def rotates(self, hidden: Tensor) -> bool:
        """Whether `attend_rotating` is the way for what is projected from `hidden` (rows x tokens x hidden)."""

    def attend_rotating(self, projected: Tensor, rotary: Rotary, heads: Heads, layer: int) -> Tensor:
        """Attention output ((rows * tokens) x (queries * dim)), where queries and keys are yet to be rotated.

        Args:
            projected: queries, keys and values side by side: (rows * tokens) x ((queries + 2 keys) * dim).
            rotary: cosines and sines of the positions, (rows * tokens) x dim.
            layer: its place among the base's attention layers, from 0.
        """


class Packed:
    """Sequences end to end in one row.

    Args:
        lengths: tokens of each, in order.
        keep: is given each layer's kind, keys and values (1 x heads x tokens x dim): a prompt's are kept for decoding.
    """

    def __init__(self, lengths: Sequence[int], keep: Callable[[Kind, Tensor, Tensor], None] | None = None) -> None:
        self.lengths = tuple(lengths)
        self._keep = keep
        self._groups: list[Group] | None = None
        self._whole: Group | None = None

    def positions(self, device: torch.device) -> Tensor:
        return torch.cat([torch.arange(length, device=device) for length in self.lengths]).unsqueeze(0)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, kind: Kind) -> Tensor:
        if self._keep is not None:
            self._keep(kind, key, value)
        by_products = kind.softcap is None and self._is_by_products(query)
        if by_products and fused_attention.takes(query, query.shape[1] * query.shape[3]):
            projected = torch.cat([tensor[0].transpose(0, 1).flatten(1) for tensor in (query, key, value)], dim=1)
            heads = Heads(query.shape[1], key.shape[1], query.shape[3], kind.scale, kind.window)
            return fused_attention.attend(projected, self._alike(), heads).view(1, -1, *query.shape[1::2])
        groups = query.shape[1] // key.shape[1]
        if groups > 1:
            key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        if kind.softcap is not None:
            return _capped(query, key, value, self.lengths, kind)
        if by_products:
            out: Tensor = _Products.apply(  # type: ignore[no-untyped-call]  # torch's own
                query[0], key[0], value[0], self._alike(), kind
            )
            return out.transpose(0, 1).unsqueeze(0)
        if self._whole is None:
            self._whole = group_of(list(spans_of(self.lengths)), query.device)
        return _padded(query, key, value, self._whole, kind)

    def rotates(self, hidden: Tensor) -> bool:
        return self._is_by_products(hidden) and fused_attention.takes(hidden, hidden.shape[-1])

    def attend_rotating(self, projected: Tensor, rotary: Rotary, heads: Heads, layer: int) -> Tensor:
        if self._keep is not None:
            keys = fused_attention.rotated_keys(projected, heads, rotary)
            values = projected[:, -heads.keys * heads.dim :].unflatten(1, (heads.keys, heads.dim)).transpose(0, 1)
            self._keep(Kind(layer, heads.scale, heads.window, None), keys.unsqueeze(0), values.unsqueeze(0))
        return fused_attention.attend(projected, self._alike(), heads, rotary)

    def _is_by_products(self, some: Tensor) -> bool:
        return some.device.type == "cpu" and max(self.lengths) <= LONGEST_BY_PRODUCTS

    def _alike(self) -> list[Group]:
        if self._groups is None:
            self._groups = groups_of(self.lengths, torch.device("cpu"))
        return self._groups


@contextmanager
def laid_out(layout: Layout) -> Iterator[None]:
    """Attend by `layout` in the forwards that this thread makes inside."""
    before = getattr(_current, "layout", None)
    _current.layout = layout
    try:
        yield
    finally:
        _current.layout = before


def rotate_within(model: nn.Module) -> None:
    """Have queries and keys rotated by the attention itself, where it can, in attention layers built as Llama's are.

    transformers rotates them before, in some sixteen operations a layer.
    """
    for module in model.modules():
        if type(module) is LlamaAttention:
            module.forward = _rotating(module)  # type: ignore[method-assign, assignment]  # this module's alone


def _rotating(module: LlamaAttention) -> Callable[..., tuple[Tensor, Tensor | None]]:
    plain = module.forward
    project = side_by_side([module.q_proj, module.k_proj, module.v_proj])
    queries, keys = (layer.out_features // module.head_dim for layer in (module.q_proj, module.k_proj))
    heads = Heads(queries, keys, module.head_dim, module.scaling, None)

    def forward(
        hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor], **named: Any
    ) -> tuple[Tensor, Tensor | None]:
        layout: Layout | None = getattr(_current, "layout", None)
        if layout is None or not layout.rotates(hidden_states):
            return plain(hidden_states=hidden_states, position_embeddings=position_embeddings, **named)
        projected = project(hidden_states).flatten(0, 1)
        cos, sin = (angles.flatten(0, 1) for angles in position_embeddings)
        out = layout.attend_rotating(projected, (cos, sin), heads, module.layer_idx)
        return module.o_proj(out.view(*hidden_states.shape[:2], -1)), None

    return forward


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


def _hidden_scores(length: int, window: int | None, like: Tensor) -> Tensor:
    """Length x length, minus infinity where a token may not look."""
    place = torch.arange(length, device=like.device)
    allowed = visible(place[:, None], place[None, :], window)
    return torch.zeros(length, length, device=like.device).masked_fill_(~allowed, float("-inf"))


class _Products(torch.autograd.Function):
    """softmax(Q K' scale) V of each sequence as plain products; softmax in float32. All heads x tokens x dim."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, groups: Sequence[Group], kind: Kind) -> Tensor:
        out = query.new_empty(*query.shape[:2], value.shape[-1])
        weights = []
        for group in groups:
            scores = torch.matmul(group.taken(query), group.taken(key).transpose(-1, -2)).float()
            scores.mul_(kind.scale).add_(_hidden_scores(group.width, kind.window, query))
            weight = torch.softmax(scores, dim=-1).to(query.dtype)
            group.put(torch.matmul(weight, group.taken(value)), out)
            weights.append(weight)
        ctx.save_for_backward(query, key, value, *weights)
        ctx.groups, ctx.scale = groups, kind.scale
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *weights = ctx.saved_tensors
        d_query, d_key, d_value = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        for group, weight in zip(ctx.groups, weights, strict=True):
            # What stands in a place of padding is some token's: its gradient must not count twice.
            out = torch.zeros(query.shape[0], group.count * group.width, value.shape[-1], dtype=query.dtype)
            out.index_copy_(1, group.real, gradients[0].index_select(1, group.places))
            out = out.view(query.shape[0], group.count, group.width, -1)
            group.put(torch.matmul(weight.transpose(-1, -2), out), d_value)
            d_weight = torch.matmul(out, group.taken(value).transpose(-1, -2)).float()
            weight32 = weight.float()
            # Softmax: dS = P * (dP - sum(dP * P)), row by row.
            d_weight.mul_(weight32)
            d_scores = d_weight.sub_(weight32.mul_(d_weight.sum(dim=-1, keepdim=True))).mul_(ctx.scale).to(query.dtype)
            group.put(torch.matmul(d_scores, group.taken(key)), d_query)
            group.put(torch.matmul(d_scores.transpose(-1, -2), group.taken(query)), d_key)
        return d_query, d_key, d_value, None, None


def _capped(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], kind: Kind) -> Tensor:
    """As `_Products`, with bent scores; torch's own derivatives, for few bases need it."""
    parts = [
        looking_back(query[0, :, start:stop], key[0, :, start:stop], value[0, :, start:stop], 0, kind).transpose(0, 1)
        for start, stop in spans_of(lengths)
    ]
    return torch.cat(parts).unsqueeze(0)


def looking_back(query: Tensor, keys: Tensor, values: Tensor, before: int, kind: Kind) -> Tensor:
    """Attention of the last tokens of one sequence (heads x tokens x dim) to all of it; softmax in float32.

    Args:
        keys, values: key-value heads x (before + tokens) x dim.
    """
    groups = query.shape[0] // keys.shape[0]
    if groups > 1:
        keys, values = keys.repeat_interleave(groups, dim=0), values.repeat_interleave(groups, dim=0)
    scores = torch.matmul(query, keys.transpose(1, 2)).float() * kind.scale
    if kind.softcap is not None:
        scores = kind.softcap * torch.tanh(scores / kind.softcap)
    columns = torch.arange(keys.shape[1], device=query.device)
    allowed = visible(columns[before:, None], columns[None, :], kind.window)
    weights = torch.softmax(scores.masked_fill(~allowed, float("-inf")), dim=-1).to(values.dtype)
    return torch.matmul(weights, values)


def _padded(query: Tensor, key: Tensor, value: Tensor, group: Group, kind: Kind) -> Tensor:
    """By torch's fused kernels, which want one length: all sequences are one group, padded for the attention alone.

    Moves by index only: asking a GPU which places are real would make it wait in every layer.
    """
    query, key, value = (group.taken(t[0]).transpose(0, 1) for t in (query, key, value))
    place = torch.arange(group.width, device=query.device)
    mask = None if kind.window is None or kind.window >= group.width else visible(place[:, None], place, kind.window)
    out = scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None, scale=kind.scale)
    flat = out.transpose(1, 2).reshape(group.count * group.width, out.shape[1], -1)
    return flat.index_select(0, group.real[group.places.argsort()]).unsqueeze(0)
