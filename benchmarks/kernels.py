"""What each of the engine's own pieces for a CPU gives against what torch would do in its place: `make bench-kernels`.

One thread, the small base's shapes, the precision the service would choose. These figures are what the constants and
the choices in engine/ rest on. A minute on a quiet machine.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is loaded

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, scaled_dot_product_attention, silu
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from benchmarks.material import service_base
from benchmarks.results_file import Row, alone, compared
from benchmarks.rounds import report
from engine import compiled, fused_layers, fused_loss, row_attention, row_kernel
from engine.attention import Kind, Packed
from engine.base import Base
from engine.fused_attention import Heads
from engine.grouped import Route
from engine.packed_weights import _multiplied, _reordered

HEADS, DIM, HIDDEN, INNER, VOCABULARY = 5, 64, 320, 896, 8192
TOKENS, ROWS, PAST = 95, 32, 60
"""Of a sample in training; of a decoding step; and behind each of its rows."""
STEP = 4 * TOKENS
"""Tokens of a training step."""
REPEATS, CALLS = 9, 12
TORCH = "torch"


def seconds(work: Callable[[], object]) -> float:
    """Of one call: the mean over some, so that a slow moment of the machine is not one call's."""
    work()
    began = time.perf_counter()
    for _ in range(CALLS):
        work()
    return (time.perf_counter() - began) / CALLS


def row(what: str, ours: Callable[[], object], theirs: Callable[[], object], peer: str) -> Row:
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(REPEATS)]
    return compared(what, "ms", [1e3 * a for a, _ in pairs], [1e3 * b for _, b in pairs], peer)


def training_attention(dtype: torch.dtype) -> list[Row]:
    """Eight samples, forward and backward, from projections to the attention's output: our way, or rotated by
    transformers and given to torch's fused kernel on padded rows."""
    projected = torch.randn(8 * TOKENS, 3 * HEADS * DIM).to(dtype).requires_grad_()
    cos, sin = torch.randn(8 * TOKENS, DIM).to(dtype), torch.randn(8 * TOKENS, DIM).to(dtype)
    layout, kind = Packed([TOKENS] * 8), Kind(0, DIM**-0.5, None, None)

    def by_head(rows: int) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = projected.view(rows, -1, 3, HEADS, DIM).permute(2, 0, 3, 1, 4)
        return *apply_rotary_pos_emb(query, key, *(angles.view(rows, -1, DIM) for angles in (cos, sin))), value

    def ours() -> None:
        heads = Heads(HEADS, HEADS, DIM, DIM**-0.5, None)
        layout.attend_rotating(projected, (cos, sin), heads, 0).sum().backward()

    def products() -> None:
        layout.attend(*by_head(1), kind).sum().backward()

    def fused() -> None:
        scaled_dot_product_attention(*by_head(8), is_causal=True).sum().backward()

    what = "attention of 8 samples with rotation, forward and backward"
    return [
        row(what, ours, fused, f"{TORCH}'s fused attention"),
        row(what, ours, lambda: without_kernels(products), f"{TORCH}'s products, softmax and moves"),
    ]


def without_kernels(work: Callable[[], object]) -> None:
    """As for a model too narrow to compile anything for."""
    before, compiled.LEAST_WIDTH = compiled.LEAST_WIDTH, 1 << 30
    try:
        work()
    finally:
        compiled.LEAST_WIDTH = before


def training_layers(dtype: torch.dtype) -> list[Row]:
    """What lies between the products of a step, forward and backward."""
    plain = LlamaRMSNorm(HIDDEN).to(dtype).requires_grad_(False)
    norm = LlamaRMSNorm(HIDDEN).to(dtype).requires_grad_(False)
    fused_layers.fuse(norm)
    x, gate, up = (torch.randn(STEP, width).to(dtype).requires_grad_() for width in (HIDDEN, INNER, INNER))
    d_x, d_out = torch.randn(STEP, HIDDEN).to(dtype), torch.randn(STEP, INNER).to(dtype)
    return [
        row(
            f"RMSNorm of {STEP} tokens, forward and backward",
            lambda: torch.autograd.grad(norm(x), x, d_x),
            lambda: torch.autograd.grad(plain(x), x, d_x),
            TORCH,
        ),
        row(
            f"silu(gate) * up of {STEP} tokens, forward and backward",
            lambda: torch.autograd.grad(fused_layers.gated(gate, up), (gate, up), d_out),
            lambda: torch.autograd.grad(silu(gate) * up, (gate, up), d_out),
            TORCH,
        ),
    ]


def training_loss(dtype: torch.dtype) -> Row:
    """The head's products included: they are what it cannot take less than."""
    head = nn.Linear(HIDDEN, VOCABULARY, bias=False).to(dtype).requires_grad_(False)
    hidden, targets = torch.randn(STEP, HIDDEN).to(dtype).requires_grad_(), torch.randint(0, VOCABULARY, (STEP,))

    def ours() -> None:
        torch.autograd.grad(fused_loss.cross_entropies(head, hidden, targets, 0.1).sum(), hidden)

    def theirs() -> None:
        torch.autograd.grad(cross_entropy(head(hidden).float(), targets, label_smoothing=0.1), hidden)

    return row(f"head and loss of {STEP} tokens, forward and backward", ours, theirs, TORCH)


def decoding_attention(dtype: torch.dtype) -> Row:
    query, key, value = (torch.randn(ROWS, HEADS, DIM).to(dtype) for _ in range(3))
    keys, values = (torch.randn(ROWS, HEADS, 128, DIM).to(dtype) for _ in range(2))
    places = np.full(ROWS, PAST, dtype=np.int64)
    mask = (torch.arange(PAST + 1) <= PAST).expand(ROWS, 1, 1, PAST + 1)

    def ours() -> Tensor:
        return row_attention.attend_rows(query, key, value, keys, values, places, scale=DIM**-0.5, window=None)

    def theirs() -> Tensor:
        past = (kept[:, :, : PAST + 1] for kept in (keys, values))
        return scaled_dot_product_attention(query.unsqueeze(2), *past, attn_mask=mask)

    return row(f"attention of {ROWS} decoded rows", ours, theirs, f"{TORCH}'s fused attention")


def stacks_of_rows(dtype: torch.dtype, rank: int) -> Row:
    """Every row through a stack of its own at one projection; the stacks are too many for the caches."""
    sets = 24
    a = [[torch.randn(rank, HIDDEN).to(dtype) for _ in range(ROWS)] for _ in range(sets)]
    b = [[row_kernel.readable(torch.randn(INNER, rank).to(dtype)) for _ in range(ROWS)] for _ in range(sets)]
    entries = [[[row_kernel.entry(x, y)] for x, y in zip(*pair, strict=True)] for pair in zip(a, b, strict=True)]
    tables = np.array(entries, dtype=np.int64)
    x, y = torch.randn(ROWS, HIDDEN).to(dtype), torch.randn(ROWS, INNER).to(dtype)

    def ours() -> None:
        for table in tables:
            row_kernel.add_rows(x, y, table, 0)

    def theirs() -> None:
        for own_a, own_b in zip(a, b, strict=True):
            for i in range(ROWS):
                y[i : i + 1].addmm_(linear(x[i : i + 1], own_a[i]), own_b[i].t())

    return row(f"{ROWS} rows through stacks of rank {rank}, {sets} projections", ours, theirs, f"{TORCH}, row by row")


def stacks_of_prompts(dtype: torch.dtype, tokens: int) -> Row:
    """Sixteen prompts, each through a stack of its own at one projection, as they are read."""
    sets, prompts, rank = 24, 16, 16
    a = [[torch.randn(rank, HIDDEN).to(dtype) for _ in range(prompts)] for _ in range(sets)]
    b = [[row_kernel.readable(torch.randn(INNER, rank).to(dtype)) for _ in range(prompts)] for _ in range(sets)]
    entries = [[[row_kernel.entry(x, y)] for x, y in zip(*pair, strict=True)] for pair in zip(a, b, strict=True)]
    tables, ends = np.array(entries, dtype=np.int64), tokens * np.arange(1, prompts + 1)
    x, y = torch.randn(prompts * tokens, HIDDEN).to(dtype), torch.randn(prompts * tokens, INNER).to(dtype)
    routes = [
        Route.of((tokens, {"": p}, {"": q}) for p, q in zip(*pair, strict=True)) for pair in zip(a, b, strict=True)
    ]

    def ours() -> None:
        for table in tables:
            row_kernel.add_rows(x, y, table, 0, ends)

    def theirs() -> None:
        for route in routes:
            route.add("", x, y)

    what = f"{prompts} prompts of {tokens} tokens through stacks of rank {rank}, {sets} projections"
    return row(what, ours, theirs, f"{TORCH}, prompt by prompt")


def packed_products(dtype: torch.dtype, rows: int) -> Row | None:
    if dtype != torch.bfloat16:
        return None
    weights = [torch.randn(INNER, HIDDEN).to(dtype) for _ in range(48)]
    packed, x = [_reordered(weight) for weight in weights], torch.randn(rows, HIDDEN).to(dtype)
    what = f"48 products of {rows} rows, weights packed"
    return row(
        what,
        lambda: [_multiplied(x, weight, None) for weight in packed],
        lambda: [linear(x, weight) for weight in weights],
        f"{TORCH}, plain weights",
    )


def limits(base: Base) -> list[Row]:
    """What this machine can do at most, from which floors are reckoned."""
    left, right = torch.randn(760, HIDDEN).to(base.dtype), torch.randn(INNER, HIDDEN).to(base.dtype)
    products = [2 * 760 * HIDDEN * INNER / seconds(lambda: linear(left, right)) / 1e9 for _ in range(REPEATS)]
    much = torch.ones(64 << 20)
    read = [much.numel() * 4 / seconds(much.sum) / 1e9 for _ in range(3)]
    return [
        alone("one core's products of 760 rows", "GFLOP/s", products),
        alone("one core reading memory", "GB/s", read),
    ]


@torch.inference_mode()
def decoding_rows(dtype: torch.dtype) -> list[Row]:
    found = [decoding_attention(dtype), *(stacks_of_rows(dtype, rank) for rank in (16, 64))]
    found += [stacks_of_prompts(dtype, tokens) for tokens in (25, TOKENS)]
    return found + [one for rows in (1, 16, STEP) if (one := packed_products(dtype, rows)) is not None]


def main() -> None:
    base = service_base()
    if base.device.type != "cpu":
        raise SystemExit("these kernels are a CPU's: this machine would not use them")
    torch.set_num_threads(1)
    rows = [*training_attention(base.dtype), *training_layers(base.dtype), training_loss(base.dtype)]
    rows += [*decoding_rows(base.dtype), *limits(base)]
    report("kernels", rows, threads=1, dtype=str(base.dtype).removeprefix("torch."))


if __name__ == "__main__":
    main()
