"""Attention of decoded rows on a CPU: one call a layer writes each row's key and value and attends to its own past,
from positions rotated or yet to be.

torch's fused kernel works on blocks of queries; a decoded row has one, and its start-up for every row and head costs
more than the arithmetic. Compiled by Numba, as engine.row_kernel. Must not know who decodes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.compiled import VIEWS, array, conversions
from engine.fused_attention import Heads, Rotary
from engine.rotary import rotation


def takes(query: Tensor, keys: Tensor) -> bool:
    """Whether the kernel can read these: on the CPU, in a precision it knows, and the same for both."""
    return query.device.type == "cpu" and query.dtype in VIEWS and keys.dtype == query.dtype


def attend_rows(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    keys: Tensor,
    values: Tensor,
    places: NDArray[np.int64],
    *,
    scale: float,
    window: int | None,
) -> Tensor:
    """Put each row's key and value at its place, and attend to all up to there.

    Args:
        query: rows x heads x dim; softmax and sums are in float32.
        key, value: rows x key-value heads x dim.
        keys, values: at least rows x key-value heads x places x dim, contiguous; written in place.
        places: of each row's new token.
        window: how many tokens back a row looks; None for all.

    Returns:
        rows x heads x value dim.
    """
    out = query.new_empty(query.shape[0], query.shape[1], value.shape[2])
    arrays = (array(t.contiguous()) for t in (query, key, value))
    kept = (array(t) for t in (keys, values))
    _compiled(query.dtype).rotated(*arrays, *kept, places, np.float32(scale), window or keys.shape[2], array(out))
    return out


def attend_rotating_rows(
    projected: Tensor, rotary: Rotary, heads: Heads, keys: Tensor, values: Tensor, places: NDArray[np.int64]
) -> Tensor:
    """As `attend_rows`, of queries, keys and values as they were projected.

    Args:
        projected: rows x ((queries + 2 keys) * dim), contiguous; queries and keys are rotated in it.
        rotary: rows x dim, contiguous.

    Returns:
        rows x (queries * dim).
    """
    out = projected.new_empty(len(projected), heads.queries * heads.dim)
    tensors = (array(t) for t in (projected, *rotary, keys, values))
    window = heads.window or keys.shape[2]
    _compiled(out.dtype).rotating(*tensors, places, heads.queries, np.float32(heads.scale), window, array(out))
    return out


def compile_now(dtype: torch.dtype, *, rotating: bool = False) -> None:
    """Compile for this precision, so that no answer waits for it."""
    if dtype in VIEWS:
        one, kept = torch.zeros(1, 1, 4, dtype=dtype), torch.zeros(1, 1, 2, 4, dtype=dtype)
        place = np.zeros(1, dtype=np.int64)
        attend_rows(one, one, one, kept, kept.clone(), place, scale=1.0, window=None)
        if rotating:
            turns, heads = (one[0], one[0]), Heads(1, 1, 4, 1.0, None)
            attend_rotating_rows(torch.zeros(1, 12, dtype=dtype), turns, heads, kept, kept.clone(), place)


class _Kernels(NamedTuple):
    rotated: Any
    rotating: Any


@lru_cache
def _compiled(dtype: torch.dtype) -> _Kernels:
    """The kernels for this precision. Loaded here: Numba brings LLVM."""
    import numba

    (wide, narrow, _), turn = conversions(dtype), rotation(dtype).there

    # As torch does, a row whose numbers overflow has NaN for an answer; Python's rule would end the other rows' too.
    @numba.njit(nogil=True, fastmath=True, error_model="numpy")  # type: ignore[untyped-decorator]  # Numba's
    def one_head(query: Any, keys: Any, values: Any, scale: Any, out: Any) -> None:
        length, dim = keys.shape
        wide_query, scores = np.empty(dim, np.float32), np.empty(length, np.float32)
        for i in range(dim):
            wide_query[i] = wide(query[i]) * scale
        largest = np.float32(-3.0e38)
        for j in range(length):
            score = np.float32(0)
            for i in range(dim):
                score += wide_query[i] * wide(keys[j, i])
            scores[j] = score
            largest = max(largest, score)
        total, sums = np.float32(0), np.zeros(values.shape[1], np.float32)
        for j in range(length):
            weight = np.exp(scores[j] - largest)
            total += weight
            for i in range(len(sums)):
                sums[i] += weight * wide(values[j, i])
        for i in range(len(sums)):
            out[i] = narrow(sums[i] / total)

    # Number by number: an assignment of slices has Numba compile the text of what it raises, 4 of 6 seconds.
    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]  # Numba's
    def keep(numbers: Any, where: Any) -> None:
        for i in range(len(where)):
            where[i] = numbers[i]

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]  # Numba's
    def kernel(
        query: Any, key: Any, value: Any, keys: Any, values: Any, places: Any, scale: Any, window: Any, out: Any
    ) -> None:
        rows, heads, _ = query.shape
        shared = heads // key.shape[1]
        for row in range(rows):
            place = places[row]
            for head in range(key.shape[1]):
                keep(key[row, head], keys[row, head, place])
                keep(value[row, head], values[row, head, place])
            first = max(0, place + 1 - window)
            for head in range(heads):
                own = head // shared
                past = slice(first, place + 1)
                one_head(query[row, head], keys[row, own, past], values[row, own, past], scale, out[row, head])

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]  # Numba's
    def rotating(
        projected: Any,
        cos: Any,
        sin: Any,
        keys: Any,
        values: Any,
        places: Any,
        heads: Any,
        scale: Any,
        window: Any,
        out: Any,
    ) -> None:
        rows, own, dim = len(projected), keys.shape[1], keys.shape[3]
        for row in range(rows):
            place, first = places[row], max(0, places[row] + 1 - window)
            for head in range(heads + own):
                turned = projected[row, head * dim : (head + 1) * dim]
                turn(turned, cos[row], sin[row], turned)
            for head in range(own):
                key = projected[row, (heads + head) * dim :]
                keep(key, keys[row, head, place])
                keep(key[own * dim :], values[row, head, place])
            for head in range(heads):
                query, answer = projected[row, head * dim : (head + 1) * dim], out[row, head * dim : (head + 1) * dim]
                past, of = slice(first, place + 1), head // (heads // own)
                one_head(query, keys[row, of, past], values[row, of, past], scale, answer)

    return _Kernels(kernel, rotating)
