"""Attention of packed sequences while training on a CPU: all but its matrix products in three passes over memory.

Between projections and products, heads are taken apart, positions rotated (RoPE, Su and others, 2021), shared keys
repeated and sequences of like length put together; torch makes some twenty operations of that a layer, and ten more of
a softmax and its gradient (`make bench-kernels`). Compiled by Numba. Must not know layers or layouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.compiled import ANY_ORDER, VIEWS, array, conversions, exponential, worth_compiling
from engine.sequences import Group

Rotary = tuple[Tensor, Tensor]
"""Cosines and sines of each token's position (tokens x dim), as transformers makes them."""


@dataclass(frozen=True, slots=True)
class Heads:
    """What one layer's attention is.

    Args:
        dim: numbers of a head.
        scale: factor of the scores before the softmax.
        window: how many tokens back a token looks, its own included; None for all.
    """

    dim: int
    scale: float
    window: int | None


def takes(query: Tensor, width: int) -> bool:
    """Whether kernels are for such queries, of a model so wide. Not for answering, which alone is in inference mode:
    there nothing may wait for a compiler."""
    return (
        query.device.type == "cpu"
        and query.dtype in VIEWS
        and not torch.is_inference_mode_enabled()
        and worth_compiling(width)
    )


def attend(
    query: Tensor, key: Tensor, value: Tensor, groups: Sequence[Group], heads: Heads, rotary: Rotary | None = None
) -> Tensor:
    """softmax(Q K' scale) V of each sequence, each token looking at itself and back; softmax in float32.

    Args:
        query, key, value: tokens x (heads * dim), of keys and values perhaps fewer heads.
        groups: all the sequences, in groups.
        rotary: what queries and keys are rotated by; None where they have been.

    Returns:
        Tokens x (heads * dim).
    """
    out: Tensor = _Attention.apply(query, key, value, groups, heads, rotary)  # type: ignore[no-untyped-call]  # torch's
    return out


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        groups: Sequence[Group],
        heads: Heads,
        rotary: Rotary | None,
    ) -> Tensor:
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        count = query.shape[1] // heads.dim
        out, kept = torch.empty_like(query), []
        for group in groups:
            q, k, v = (
                _taken(packed, group.gather, group, count, heads.dim, turns)
                for packed, turns in ((query, rotary), (key, rotary), (value, None))
            )
            weights = torch.bmm(q, k.transpose(1, 2))
            _compiled(query.dtype).softmax(array(weights), np.float32(heads.scale), heads.window or group.width)
            _put(torch.bmm(weights, v), group, count, out, None)
            kept += [q, k, v, weights]
        ctx.save_for_backward(*kept, *(rotary or ()))
        ctx.groups, ctx.heads, ctx.count, ctx.widths = groups, heads, count, (query.shape, key.shape, value.shape)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        groups, heads, count = ctx.groups, ctx.heads, ctx.count
        kept, turns = ctx.saved_tensors[: 4 * len(groups)], ctx.saved_tensors[4 * len(groups) :]
        rotary = (turns[0], turns[1]) if turns else None
        gradient = gradients[0].contiguous()
        d_query, d_key, d_value = (gradient.new_empty(shape) for shape in ctx.widths)
        for i, group in enumerate(groups):
            q, k, v, weights = kept[4 * i : 4 * i + 4]
            # What stands in a place of padding is some token's: its gradient must not count twice.
            out = _taken(gradient, group.known, group, count, heads.dim, None)
            _put(torch.bmm(weights.transpose(1, 2), out), group, count, d_value, None)
            d_scores = torch.bmm(out, v.transpose(1, 2))
            _compiled(gradient.dtype).softmax_back(
                array(weights), array(d_scores), np.float32(heads.scale), heads.window or group.width
            )
            _put(torch.bmm(d_scores, k), group, count, d_query, rotary)
            _put(torch.bmm(d_scores.transpose(1, 2), q), group, count, d_key, rotary)
        return d_query, d_key, d_value, None, None, None


def _taken(packed: Tensor, places: Tensor, group: Group, count: int, dim: int, rotary: Rotary | None) -> Tensor:
    """Tokens x (heads * dim) -> (`count` heads * sequences) x width x dim: shared heads repeated, rotated."""
    out = packed.new_empty(count * group.count, group.width, dim)
    work, arrays = _compiled(packed.dtype), (array(packed), places.numpy(), array(out.view(count, -1, dim)))
    if rotary is None:
        work.take(*arrays)
    else:
        work.take_rotated(*arrays, *map(array, rotary))
    return out


def _put(grouped: Tensor, group: Group, count: int, packed: Tensor, rotary: Rotary | None) -> None:
    """The inverse, into `packed`: padding is dropped, heads that share one are added up, rotated back."""
    work = _compiled(packed.dtype)
    arrays = array(grouped.view(count, -1, grouped.shape[-1])), group.known.numpy(), array(packed)
    if rotary is None:
        work.put(*arrays)
    else:
        work.put_rotated_back(*arrays, *map(array, rotary))


class _Kernels(NamedTuple):
    take: Any
    take_rotated: Any
    put: Any
    put_rotated_back: Any
    softmax: Any
    softmax_back: Any


@lru_cache
def _compiled(dtype: torch.dtype) -> _Kernels:
    """The kernels for this precision. Loaded here: Numba brings LLVM."""
    import numba

    (wide, narrow, _), exp, zero = conversions(dtype), exponential(), np.float32(0)
    one = np.float32(1)
    fast = numba.njit(nogil=True, fastmath=ANY_ORDER, error_model="numpy")

    @fast  # type: ignore[untyped-decorator]  # Numba's
    def added(grouped: Any, first: Any, count: Any, slot: Any, sums: Any) -> None:
        """The sum of `count` heads, which share one."""
        own = grouped[first, slot]
        for i in range(len(sums)):
            sums[i] = wide(own[i])
        for head in range(1, count):
            own = grouped[first + head, slot]
            for i in range(len(sums)):
                sums[i] += wide(own[i])

    # Loops count from 0 over slices: of other indices Numba asks whether they are negative, and makes no vectors.

    @fast  # type: ignore[untyped-decorator]  # Numba's
    def take(packed: Any, places: Any, out: Any) -> None:
        heads, slots, dim = out.shape
        shared = heads * dim // packed.shape[1]
        for slot in range(slots):
            place = places[slot]
            for head in range(heads):
                into = out[head, slot]
                if place < 0:
                    into[:] = narrow(zero)
                    continue
                own = packed[place, head // shared * dim :]
                for i in range(dim):
                    into[i] = own[i]

    @fast  # type: ignore[untyped-decorator]  # Numba's
    def take_rotated(packed: Any, places: Any, out: Any, cos: Any, sin: Any) -> None:
        heads, slots, dim = out.shape
        shared, half = heads * dim // packed.shape[1], dim // 2
        for slot in range(slots):
            place = places[slot]
            cos_low, cos_high, sin_low, sin_high = cos[place], cos[place, half:], sin[place], sin[place, half:]
            for head in range(heads):
                low = packed[place, head // shared * dim :]
                high, into_low, into_high = low[half:], out[head, slot], out[head, slot, half:]
                for i in range(half):
                    a, b = wide(low[i]), wide(high[i])
                    into_low[i] = narrow(a * wide(cos_low[i]) - b * wide(sin_low[i]))
                    into_high[i] = narrow(b * wide(cos_high[i]) + a * wide(sin_high[i]))

    @fast  # type: ignore[untyped-decorator]  # Numba's
    def put(grouped: Any, places: Any, packed: Any) -> None:
        heads, slots, dim = grouped.shape
        shared, sums = heads * dim // packed.shape[1], np.empty(dim, np.float32)
        for slot in range(slots):
            place = places[slot]
            if place < 0:
                continue
            for first in range(0, heads, shared):
                added(grouped, first, shared, slot, sums)
                into = packed[place, first // shared * dim :]
                for i in range(dim):
                    into[i] = narrow(sums[i])

    @fast  # type: ignore[untyped-decorator]  # Numba's
    def put_rotated_back(grouped: Any, places: Any, packed: Any, cos: Any, sin: Any) -> None:
        heads, slots, dim = grouped.shape
        shared, half, sums = heads * dim // packed.shape[1], dim // 2, np.empty(dim, np.float32)
        for slot in range(slots):
            place = places[slot]
            if place < 0:
                continue
            cos_low, cos_high, sin_low, sin_high = cos[place], cos[place, half:], sin[place], sin[place, half:]
            for first in range(0, heads, shared):
                added(grouped, first, shared, slot, sums)
                low = packed[place, first // shared * dim :]
                high, upper = low[half:], sums[half:]
                for i in range(half):
                    low[i] = narrow(sums[i] * wide(cos_low[i]) + upper[i] * wide(sin_high[i]))
                    high[i] = narrow(upper[i] * wide(cos_high[i]) - sums[i] * wide(sin_low[i]))

    @fast  # type: ignore[untyped-decorator]  # Numba's
    def softmax(scores: Any, scale: Any, window: Any) -> None:
        """Of what each row may look at, in place; 0 elsewhere."""
        blocks, width, _ = scores.shape
        shares = np.empty(width, np.float32)
        for block in range(blocks):
            for row in range(width):
                start = max(0, row - window + 1)
                own, count = scores[block, row, start:], row + 1 - start
                largest, total = -np.float32(np.inf), zero
                for i in range(count):
                    shares[i] = wide(own[i]) * scale
                    largest = max(largest, shares[i])
                for i in range(count):
                    shares[i] = exp(shares[i] - largest)
                    total += shares[i]
                part = one / total
                for i in range(count):
                    own[i] = narrow(shares[i] * part)
                scores[block, row, :start] = narrow(zero)
                scores[block, row, row + 1 :] = narrow(zero)

    @fast  # type: ignore[untyped-decorator]  # Numba's
    def softmax_back(weights: Any, gradients: Any, scale: Any, window: Any) -> None:
        """Gradients of the weights become those of the scores: dS = P * (dP - sum(dP * P)) * scale, row by row."""
        blocks, width, _ = weights.shape
        for block in range(blocks):
            for row in range(width):
                start = max(0, row - window + 1)
                weight, own, count = weights[block, row, start:], gradients[block, row, start:], row + 1 - start
                total = zero
                for i in range(count):
                    total += wide(own[i]) * wide(weight[i])
                for i in range(count):
                    own[i] = narrow(wide(weight[i]) * (wide(own[i]) - total) * scale)
                gradients[block, row, :start] = narrow(zero)
                gradients[block, row, row + 1 :] = narrow(zero)

    return _Kernels(take, take_rotated, put, put_rotated_back, softmax, softmax_back)
