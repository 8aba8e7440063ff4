"""The two kernels of engine.row_kernel_gpu. Importing this needs Triton, which comes with a GPU's torch.

Each program looks up its row's rank and addresses first, and ends at once where the row has no such ranks.
"""

# Triton reads the source of these functions: annotations other than its own are not for it.
# mypy: disable-error-code="no-untyped-def,untyped-decorator"

import triton
import triton.language as tl


@triton.jit
def down(
    x, inner, table, d_in, largest_rank, row_stride, first,
    rank_at: tl.constexpr, a_at: tl.constexpr, RANKS: tl.constexpr, INPUTS: tl.constexpr,
):  # fmt: skip
    """inner[row] = A x[row]: a program for each row and each RANKS ranks."""
    row = tl.program_id(0).to(tl.int64)
    ranks = tl.program_id(1) * RANKS + tl.arange(0, RANKS)
    entry = table + row * row_stride + first
    rank = tl.load(entry + rank_at)
    if tl.program_id(1) * RANKS < rank:
        a = tl.load(entry + a_at).to(x.dtype)
        sums = tl.zeros((RANKS,), dtype=tl.float32)
        for start in range(0, d_in, INPUTS):
            column = start + tl.arange(0, INPUTS)
            own = tl.load(x + row * d_in + column, mask=column < d_in, other=0.0).to(tl.float32)
            mask = (ranks < rank)[:, None] & (column < d_in)[None, :]
            part = tl.load(a + ranks[:, None] * d_in + column[None, :], mask=mask, other=0.0).to(tl.float32)
            sums += tl.sum(part * own[None, :], axis=1)
        tl.store(inner + row * largest_rank + ranks, sums, mask=ranks < rank)


@triton.jit
def up(
    inner, y, table, d_out, largest_rank, row_stride, first,
    rank_at: tl.constexpr, b_at: tl.constexpr, RANKS: tl.constexpr, OUTPUTS: tl.constexpr,
):  # fmt: skip
    """y[row] += B inner[row], B lying transposed: a program for each row and each OUTPUTS numbers of y."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    entry = table + row * row_stride + first
    rank = tl.load(entry + rank_at)
    if rank > 0:
        b = tl.load(entry + b_at).to(y.dtype)
        sums = tl.zeros((OUTPUTS,), dtype=tl.float32)
        for start in range(0, rank, RANKS):
            ranks = start + tl.arange(0, RANKS)
            own = tl.load(inner + row * largest_rank + ranks, mask=ranks < rank, other=0.0)
            mask = (ranks < rank)[:, None] & (column < d_out)[None, :]
            part = tl.load(b + ranks[:, None] * d_out + column[None, :], mask=mask, other=0.0).to(tl.float32)
            sums += tl.sum(part * own[:, None], axis=0)
        place = y + row * d_out + column
        before = tl.load(place, mask=column < d_out, other=0.0).to(tl.float32)
        tl.store(place, (before + sums).to(y.dtype.element_ty), mask=column < d_out)
