"""Attention of packed sequences on a CPU, in training and where prompts are read: all but its matrix products in three
passes over memory.

Between projections and products, heads are taken apart, positions rotated (RoPE, Su and others, 2021), shared keys
repeated and sequences of like length put together; torch makes some twenty operations of that a layer, and ten more of
a softmax and its gradient (`make bench-kernels`). Compiled by Numba. Must not know layers or layouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.compiled import ANY_ORDER, VIEWS, array, conversions, exponential, worth_compiling
from engine.rotary import rotation
from engine.sequences import Group, groups_of

Rotary = tuple[Tensor, Tensor]
"""Cosines and sines of each token's position (tokens x dim), as transformers makes them."""


@dataclass(frozen=True, slots=True)
class Heads:
    """What one layer's attention is.

    Args:
        queries, keys: heads of each; as many values as keys.
        dim: numbers of a head.
        scale: factor of the scores before the softmax.
        window: how many tokens back a token looks, its own included; None for all.
    """

    queries: int
    keys: int
    dim: int
    scale: float
    window: int | None


def takes(hidden: Tensor, width: int) -> bool:
    """Whether kernels are for what is computed from `hidden`, of a model so wide."""
    return hidden.device.type == "cpu" and hidden.dtype in VIEWS and worth_compiling(width)


def attend(projected: Tensor, groups: Sequence[Group], heads: Heads, rotary: Rotary | None = None) -> Tensor:
    """softmax(Q K' scale) V of each sequence, each token looking at itself and back; softmax in float32.

    Args:
        projected: queries, keys and values side by side: tokens x ((queries + 2 keys) * dim).
        groups: all the sequences, in groups.
        rotary: what queries and keys are rotated by; None where they have been.

    Returns:
        Tokens x (queries * dim).
    """
    out: Tensor = _Attention.apply(projected, groups, heads, rotary)  # type: ignore[no-untyped-call]  # torch's own
    return out


def rotated_keys(projected: Tensor, heads: Heads, rotary: Rotary) -> Tensor:
    """The keys of what `attend` is given, rotated: heads x tokens x dim."""
    every = torch.arange(len(projected))
    return _taken(projected.contiguous(), heads, _Part.KEYS, every, rotary, heads.keys)


def compile_now(dtype: torch.dtype) -> None:
    """Compile what answering needs for this precision, so that no answer waits for it."""
    if dtype in VIEWS:
        turns = torch.zeros(1, 2, dtype=dtype), torch.zeros(1, 2, dtype=dtype)
        with torch.inference_mode():
            attend(
                torch.zeros(1, 6, dtype=dtype), groups_of([1], torch.device("cpu")), Heads(1, 1, 2, 1.0, None), turns
            )


class _Part(IntEnum):
    QUERIES, KEYS, VALUES = range(3)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, projected: Tensor, groups: Sequence[Group], heads: Heads, rotary: Rotary | None) -> Tensor:
        projected = projected.contiguous()
        out, kept = projected.new_empty(len(projected), heads.queries * heads.dim), []
        for group in groups:
            q, k, v = (
                _taken(projected, heads, part, group.gather, rotary, heads.queries).view(-1, group.width, heads.dim)
                for part in _Part
            )
            weights = torch.bmm(q, k.transpose(1, 2))
            _compiled(out.dtype).softmax(array(weights), np.float32(heads.scale), heads.window or group.width)
            _put(torch.bmm(weights, v), out, 0, group, heads.queries, None)
            kept += [q, k, v, weights]
        ctx.save_for_backward(*kept, *(rotary or ()))
        ctx.groups, ctx.heads, ctx.width = groups, heads, projected.shape[1]
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        groups, heads = ctx.groups, ctx.heads
        kept, turns = ctx.saved_tensors[: 4 * len(groups)], ctx.saved_tensors[4 * len(groups) :]
        rotary = (turns[0], turns[1]) if turns else None
        gradient = gradients[0].contiguous()
        d_projected = gradient.new_empty(len(gradient), ctx.width)
        for i, group in enumerate(groups):
            q, k, v, weights = kept[4 * i : 4 * i + 4]
            # What stands in a place of padding is some token's: its gradient must not count twice.
            out = _taken(gradient, heads, _Part.QUERIES, group.known, None, heads.queries).view_as(q)
            d_scores = torch.bmm(out, v.transpose(1, 2))
            _compiled(out.dtype).softmax_back(
                array(weights), array(d_scores), np.float32(heads.scale), heads.window or group.width
            )
            of_parts = (
                (torch.bmm(d_scores, k), heads.queries, rotary),
                (torch.bmm(d_scores.transpose(1, 2), q), heads.keys, rotary),
                (torch.bmm(weights.transpose(1, 2), out), heads.keys, None),
            )
            column = 0
            for d_part, count, own_rotary in of_parts:
                _put(d_part, d_projected, column, group, count, own_rotary)
                column += count * heads.dim
        return d_projected, None, None, None


def _taken(packed: Tensor, heads: Heads, part: _Part, places: Tensor, rotary: Rotary | None, count: int) -> Tensor:
    """Of tokens x columns the heads of a part at some places: `count` x places x dim, shared heads repeated.

    Queries and keys are rotated by `rotary`.
    """
    own = heads.queries if part is _Part.QUERIES else heads.keys
    column = (0, heads.queries, heads.queries + heads.keys)[part] * heads.dim
    out = packed.new_empty(count, len(places), heads.dim)
    turns = _turns(packed, None if part is _Part.VALUES else rotary)
    _compiled(packed.dtype).take(array(packed), column, count // own, places.numpy(), array(out), *turns)
    return out


def _put(grouped: Tensor, packed: Tensor, column: int, group: Group, count: int, rotary: Rotary | None) -> None:
    """The inverse, into `count` heads of `packed` from a column on: padding is dropped, heads that share one are added
    up, rotated back."""
    heads = grouped.view(-1, group.count * group.width, grouped.shape[-1])
    _compiled(packed.dtype).put(
        array(heads), group.known.numpy(), len(heads) // count, array(packed), column, *_turns(packed, rotary)
    )


def _turns(like: Tensor, rotary: Rotary | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Cosines and sines as kernels read them: without rows where nothing is rotated."""
    cos, sin = rotary or (like.new_empty(0, 0), like.new_empty(0, 0))
    return array(cos), array(sin)


class _Kernels(NamedTuple):
    take: Any
    put: Any
    softmax: Any
    softmax_back: Any


@lru_cache
def _compiled(dtype: torch.dtype) -> _Kernels:
    """The kernels for this precision. Loaded here: Numba brings LLVM."""
    import numba

    (wide, narrow, _), exp, (turn, turn_back) = conversions(dtype), exponential(), rotation(dtype)
    zero, one = np.float32(0), np.float32(1)
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
    def take(packed: Any, column: Any, shared: Any, places: Any, out: Any, cos: Any, sin: Any) -> None:
        heads, slots, dim = out.shape
        for slot in range(slots):
            place = places[slot]
            for head in range(heads):
                into = out[head, slot]
                if place < 0:
                    into[:] = narrow(zero)
                    continue
                own = packed[place, column + head // shared * dim :]
                if len(cos):
                    turn(own, cos[place], sin[place], into)
                else:
                    for i in range(dim):
                        into[i] = own[i]

    @fast  # type: ignore[untyped-decorator]  # Numba's
    def put(grouped: Any, places: Any, shared: Any, packed: Any, column: Any, cos: Any, sin: Any) -> None:
        heads, slots, dim = grouped.shape
        sums = np.empty(dim, np.float32)
        for slot in range(slots):
            place = places[slot]
            if place < 0:
                continue
            for first in range(0, heads, shared):
                added(grouped, first, shared, slot, sums)
                into = packed[place, column + first // shared * dim :]
                if len(cos):
                    turn_back(sums, cos[place], sin[place], into)
                else:
                    for i in range(dim):
                        into[i] = narrow(sums[i])

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

    return _Kernels(take, put, softmax, softmax_back)
