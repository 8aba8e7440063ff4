"""B A x for rows that each have a stack of their own, on a GPU: engine.row_kernel's counterpart, in Triton.

Two launches a projection, whatever the number of rows and stacks: one gives every row A x, the other adds B times that.
Programs of ranks that a row does not have end at once, so the work is proportional to each row's true rank. A tensor of
addresses says where each row's A and B lie; nothing is gathered or padded. Runs in Triton's interpreter as well.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.row_kernel import ADDRESS_A, ADDRESS_B, RANK

_RANKS = 16
"""Ranks a program of the first launch computes; the smallest rank searched is 8."""
_INPUTS, _OUTPUTS = 256, 128
"""Numbers of x a program reads at a time, and numbers of y it computes."""


def add_rows(x: Tensor, y: Tensor, table: Tensor, projection: int, largest_rank: int) -> None:
    """y[row] += B A x[row] in place, sums in float32: x (rows x d_in), y (rows x d_out), both contiguous.

    Args:
        table: at least rows x projections x fields of int64, on the same device; A (R x d_in) and B transposed
            (R x d_out) in the precision of x.
        projection: which of the table's.
        largest_rank: of any row at this projection.
    """
    # Triton comes with a GPU's torch only.
    from engine.triton_rows import down, up

    (rows, d_in), d_out = x.shape, y.shape[1]
    inner = torch.empty(rows, largest_rank, dtype=torch.float32, device=x.device)
    row_stride, first = table.stride(0), projection * table.stride(1)
    blocks = -(-largest_rank // _RANKS), -(-d_out // _OUTPUTS)
    down[(rows, blocks[0])](x, inner, table, d_in, largest_rank, row_stride, first, RANK, ADDRESS_A, _RANKS, _INPUTS)
    up[(rows, blocks[1])](inner, y, table, d_out, largest_rank, row_stride, first, RANK, ADDRESS_B, _RANKS, _OUTPUTS)
