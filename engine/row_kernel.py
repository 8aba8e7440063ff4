"""B A x for stretches of rows that each have a stack of their own, on a CPU: one call for all, at each one's true rank.

A decoded row is one token, so its A and B are read once and used once: what counts is the memory they are read from.
torch needs two products a stretch and projection, each with a start-up of several microseconds (in bfloat16 some
forty); this kernel, compiled by Numba before the first answer, has one for all. Must not know stacks or routes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.compiled import VIEWS, array, conversions

RANK, ADDRESS_A, ADDRESS_B = range(3)
FIELDS = 3
"""What a row's entry of a table holds for one projection: the rank, zero for no LoRA, and where A and B^T lie."""


def fits(a: Tensor, b: Tensor) -> bool:
    """Whether a kernel can read this A (R x d_in) and B (d_out x R).

    Each rank's numbers have to lie side by side, in a precision the kernel knows; the GPU's knows all.
    """
    known = a.dtype in VIEWS or a.device.type == "cuda"
    return known and a.dtype == b.dtype and a.is_contiguous() and b.t().is_contiguous()


def readable(b: Tensor) -> Tensor:
    """B (d_out x R) with the numbers of each rank side by side in memory, as the kernel reads them."""
    return b.t().contiguous().t()


def entry(a: Tensor, b: Tensor) -> tuple[int, int, int]:
    """A table's entry for A and B that fit. Whoever holds the table has to hold the tensors too."""
    return a.shape[0], a.data_ptr(), b.data_ptr()


def add_rows(
    x: Tensor, y: Tensor, table: NDArray[np.int64], projection: int, ends: NDArray[np.int64] | None = None
) -> None:
    """y[row] += B A x[row] in place, sums in float32: x (rows x d_in), y (rows x d_out).

    Args:
        table: at least stretches x projections x fields; A and B in the precision of x.
        projection: which of the table's.
        ends: the row behind each stretch, the first beginning at 0; None where every row is one.
    """
    _compiled(x.dtype)(array(x), array(y), table, projection, _each(len(x)) if ends is None else ends)


@lru_cache
def _each(rows: int) -> NDArray[np.int64]:
    return np.arange(1, rows + 1)


def compile_now(dtype: torch.dtype) -> None:
    """Compile for this precision, so that no answer waits for it."""
    if dtype in VIEWS:
        a, b = torch.zeros(2, 4, dtype=dtype), readable(torch.zeros(3, 2, dtype=dtype))
        table = np.array([[entry(a, b)]], dtype=np.int64)
        add_rows(torch.zeros(1, 4, dtype=dtype), torch.zeros(1, 3, dtype=dtype), table, 0)


@lru_cache
def _compiled(dtype: torch.dtype) -> Any:
    """The kernel for this precision. Loaded here: Numba brings LLVM."""
    import numba

    wide, narrow, pointer = conversions(dtype)

    @numba.njit(nogil=True, fastmath=True)  # type: ignore[untyped-decorator]  # Numba's
    def one_row(x: Any, y: Any, a: Any, b: Any) -> None:
        rank, d_in = a.shape
        d_out = b.shape[1]
        wide_x, total = np.empty(d_in, np.float32), np.zeros(d_out, np.float32)
        for i in range(d_in):
            wide_x[i] = wide(x[i])
        inner = np.empty(rank, np.float32)
        for k in range(rank):
            product = np.float32(0)
            for i in range(d_in):
                product += wide(a[k, i]) * wide_x[i]
            inner[k] = product
        # Four ranks at a time: the sums are read and written a quarter as often.
        whole = rank - rank % 4
        for k in range(0, whole, 4):
            c, d, e, f = inner[k], inner[k + 1], inner[k + 2], inner[k + 3]
            for o in range(d_out):
                total[o] += c * wide(b[k, o]) + d * wide(b[k + 1, o]) + e * wide(b[k + 2, o]) + f * wide(b[k + 3, o])
        for k in range(whole, rank):
            for o in range(d_out):
                total[o] += inner[k] * wide(b[k, o])
        for o in range(d_out):
            y[o] = narrow(wide(y[o]) + total[o])

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]  # Numba's
    def kernel(x: Any, y: Any, table: Any, projection: Any, ends: Any) -> None:
        d_in, d_out, start = x.shape[1], y.shape[1], 0
        for stretch in range(len(ends)):
            rank = table[stretch, projection, RANK]
            if rank > 0:
                a = numba.carray(pointer(table[stretch, projection, ADDRESS_A], x), (rank, d_in))
                b = numba.carray(pointer(table[stretch, projection, ADDRESS_B], x), (rank, d_out))
                for row in range(start, ends[stretch]):
                    one_row(x[row], y[row], a, b)
            start = ends[stretch]

    return kernel
