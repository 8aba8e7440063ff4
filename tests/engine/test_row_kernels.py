"""The CPU's kernels for decoded rows against the plain formulas, in each precision they know."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from engine import row_attention, row_kernel, row_kernel_gpu, row_route
from engine.base import Base
from engine.configuration import Configuration
from engine.grouped import Route
from engine.row_route import RowRoute, Stretches, takes
from engine.stack import Stack
from tests.engine.conftest import random_stack

PRECISIONS = {torch.float32: 1e-4, torch.bfloat16: 3e-2}
"""How far the kernel may be from the formula, as a share of the largest value."""


def random(*shape: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def placed(stack: Stack, dtype: torch.dtype) -> Stack:
    cast = stack.to(dtype=dtype)
    return Stack(cast.configuration, cast.a, {name: row_kernel.readable(b) for name, b in cast.b.items()})


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_each_row_gets_its_own_product_at_its_true_rank_and_one_without_a_stack_nothing(dtype: torch.dtype) -> None:
    ranks = [1, 8, 0, 7, 96, 33]
    x, y = random(len(ranks), 20, dtype=dtype, seed=0), random(len(ranks), 48, dtype=dtype, seed=1)
    a = [random(rank, 20, dtype=dtype, seed=10 + rank) for rank in ranks]
    b = [row_kernel.readable(random(48, rank, dtype=dtype, seed=200 + rank)) for rank in ranks]
    table = np.array([[row_kernel.entry(*pair)] for pair in zip(a, b, strict=True)], dtype=np.int64)
    expected = torch.stack([y[i].float() + b[i].float() @ (a[i].float() @ x[i].float()) for i in range(len(ranks))])
    before = y.clone()
    row_kernel.add_rows(x, y, table, 0)

    assert torch.equal(y[2], before[2])
    assert (y.float() - expected).abs().max() <= PRECISIONS[dtype] * expected.abs().max()


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_stretches_long_and_short_get_their_stacks_sums_in_one_batch(
    tiny_base: Callable[[str], Base], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_base("llama")
    shapes = [Configuration((True, False, True), 1, 8), Configuration((True, True, True), 2, 16)]
    first, second = (placed(random_stack(base, shape, seed=i), dtype) for i, shape in enumerate(shapes))
    as_trained = random_stack(base, shapes[0], seed=2).to(dtype=dtype)  # which the kernel cannot read
    groups = [(5, first), (3, None), (40, second), (1, second), (7, as_trained)]
    monkeypatch.setattr(row_route, "SHORT", 40 * 32 - 1)
    stretches = Stretches(base.projections, groups)
    plain = Route.of((rows, stack.a, stack.b) if stack else (rows, {}, {}) for rows, stack in groups)
    added: list[int] = []
    kernel = row_kernel.add_rows
    monkeypatch.setattr(row_kernel, "add_rows", lambda *a: added.append(a[3]) or kernel(*a))  # type: ignore[func-returns-value]
    for projection in base.projections:
        x, y = (random(56, wide, dtype=dtype, seed=wide) for wide in (projection.d_in, projection.d_out))
        assert stretches.touches(projection.name) == plain.touches(projection.name)
        with torch.inference_mode():
            found = stretches.add(projection.name, x, y.clone()).float()
            expected = plain.add(projection.name, x, y.clone()).float()
        assert (found - expected).abs().max() <= PRECISIONS[dtype] * expected.abs().max()
        assert torch.equal(found[5:8], y[5:8].float())
    assert len(added) == len(base.projections)


def test_a_bfloat16_sum_is_rounded_to_the_nearest_number_and_not_cut_off() -> None:
    x, y = torch.ones(1, 1, dtype=torch.bfloat16), torch.full((1, 1), 256.0, dtype=torch.bfloat16)
    a = torch.ones(1, 1, dtype=torch.bfloat16)
    for added, expected in ((1.5, 258.0), (0.5, 256.0), (1.0, 256.0), (3.0, 260.0)):
        out, b = y.clone(), torch.full((1, 1), added, dtype=torch.bfloat16)
        row_kernel.add_rows(x, out, np.array([[row_kernel.entry(a, b)]], dtype=np.int64), 0)
        assert out.item() == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("d_in", "d_out"), [(20, 48), (300, 200)])
def test_the_gpus_kernels_give_each_row_its_own_product_too(dtype: torch.dtype, d_in: int, d_out: int) -> None:
    ranks = [1, 8, 0, 7, 96, 33]
    x, y = random(len(ranks), d_in, dtype=dtype, seed=0), random(len(ranks), d_out, dtype=dtype, seed=1)
    a = [random(rank, d_in, dtype=dtype, seed=10 + rank) for rank in ranks]
    b = [row_kernel.readable(random(d_out, rank, dtype=dtype, seed=200 + rank)) for rank in ranks]
    table = torch.zeros(len(ranks), 3, row_kernel.FIELDS, dtype=torch.int64)
    table[:, 1] = torch.tensor([row_kernel.entry(*pair) for pair in zip(a, b, strict=True)])
    expected = torch.stack([y[i].float() + b[i].float() @ (a[i].float() @ x[i].float()) for i in range(len(ranks))])
    before = y.clone()
    row_kernel_gpu.add_rows(x, y, table, 1, 96)

    assert torch.equal(y[2], before[2])
    assert (y.float() - expected).abs().max() <= PRECISIONS.get(dtype, 3e-2) * expected.abs().max()


def test_a_route_on_a_gpu_keeps_its_table_there_and_gives_the_cpus_sums(tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")
    stacks = [
        placed(random_stack(base, Configuration((True, i % 2 == 0, False), 1 + i, 8), seed=i), torch.float32)
        for i in range(3)
    ]
    by_cpu, by_gpu = (RowRoute(base.projections, base.device) for _ in range(2))
    by_gpu._by_gpu = True  # the interpreter reads the CPU's memory
    for route in (by_cpu, by_gpu):
        for stack in [*stacks, None]:
            route.join(stack)
        route.leave(1)
    for projection in base.projections:
        assert by_cpu.touches(projection.name) == by_gpu.touches(projection.name)
        if by_cpu.touches(projection.name):
            x = random(3, projection.d_in, dtype=torch.float32, seed=9)
            sums = [route.add(projection.name, x, torch.zeros(3, projection.d_out)) for route in (by_cpu, by_gpu)]
            assert torch.allclose(*sums, atol=1e-4)


def test_no_row_beyond_those_there_are_has_an_address_of_a_stack_that_may_be_gone(
    tiny_base: Callable[[str], Base],
) -> None:
    base = tiny_base("llama")
    stack = placed(random_stack(base, Configuration((True, True, True), 1, 8), seed=1), torch.float32)
    route = RowRoute(base.projections, base.device)
    for _ in range(5):
        route.join(stack)
    for row in (4, 0, 1):
        route.leave(row)
    route.refresh()
    table = route.fixed(8).table

    assert table[:2].any(dim=2).all()
    assert not table[2:].any()
    route.make_room(40)
    assert not route.fixed(8).table[2:].any()


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_rows_attend_to_their_own_past_only_within_the_window_with_shared_heads(
    dtype: torch.dtype, window: int | None
) -> None:
    rows, heads, shared, dim, room = 3, 4, 2, 8, 10
    places = np.array([0, 4, 9], dtype=np.int64)
    query, key = random(rows, heads, dim, dtype=dtype, seed=1), random(rows, heads // shared, dim, dtype=dtype, seed=2)
    value = random(rows, heads // shared, dim, dtype=dtype, seed=3)
    keys = random(rows, heads // shared, room, dim, dtype=dtype, seed=4)
    values = random(rows, heads // shared, room, dim, dtype=dtype, seed=5)
    out = row_attention.attend_rows(query, key, value, keys, values, places, scale=0.3, window=window)

    for row, place in enumerate(places):
        assert torch.equal(keys[row, :, place], key[row])
        assert torch.equal(values[row, :, place], value[row])
        first = 0 if window is None else max(0, int(place) + 1 - window)
        for head in range(heads):
            past_keys = keys[row, head // shared, first : place + 1].float()
            past_values = values[row, head // shared, first : place + 1].float()
            weights = torch.softmax(past_keys @ query[row, head].float() * 0.3, dim=0)
            expected = weights @ past_values
            assert (out[row, head].float() - expected).abs().max() <= PRECISIONS[dtype] * expected.abs().max()


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_a_row_whose_numbers_overflow_changes_no_other_and_raises_nothing(poison: float) -> None:
    def attended(value_of_one: float) -> torch.Tensor:
        query, key = (random(3, 2, 4, dtype=torch.float32, seed=seed) for seed in (1, 2))
        keys, values = (random(3, 2, 5, 4, dtype=torch.float32, seed=seed) for seed in (3, 4))
        key[1], query[1] = value_of_one, 1.0
        keys[1] = value_of_one
        places = np.array([4, 4, 4], dtype=np.int64)
        return row_attention.attend_rows(query, key, key, keys, values, places, scale=0.3, window=None)

    whole, poisoned = attended(1.0), attended(poison)
    assert torch.equal(poisoned[[0, 2]], whole[[0, 2]])
    assert not torch.isfinite(poisoned[1]).all()


@pytest.mark.parametrize("family", ["llama", "gpt2", "roberta"])
def test_rows_that_come_and_go_are_routed_through_the_stacks_they_came_with(
    family: str, tiny_base: Callable[[str], Base]
) -> None:
    base = tiny_base(family)
    shapes = [((True, False, True), 1, 8), ((False, True, False), 2, 32), ((True, True, True), 1, 96)]
    stacks = [
        placed(random_stack(base, Configuration(*shape), seed=i), torch.float32) for i, shape in enumerate(shapes)
    ]
    route = RowRoute(base.projections, base.device)
    for stack in [*stacks, None] * 6:
        route.join(stack)
    route.leave(0)
    rows = [None, *([*stacks, None] * 6)[1:-1]]

    for projection in base.projections:
        x, y = random(23, projection.d_in, dtype=torch.float32, seed=7), torch.zeros(23, projection.d_out)
        assert route.touches(projection.name)
        route.add(projection.name, x, y)
        for i, stack in enumerate(rows):
            a = stack.a.get(projection.name) if stack is not None else None
            expected = torch.zeros(projection.d_out) if a is None else stack.b[projection.name] @ (a @ x[i])
            assert torch.allclose(y[i], expected, atol=1e-4)


def test_a_layer_that_no_row_uses_is_not_touched(tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")
    route = RowRoute(base.projections, base.device)
    route.join(placed(random_stack(base, Configuration((False, True, False), 1, 8), seed=0), torch.float32))

    assert [p.layer for p in base.projections if route.touches(p.name)] == [1, 1, 1]


def test_a_stack_that_lies_otherwise_in_memory_is_left_to_torch(tiny_base: Callable[[str], Base]) -> None:
    stack = random_stack(tiny_base("llama"), Configuration((True, True, True), 2, 8), seed=1)

    assert not takes(stack)
    assert not takes(placed(stack, torch.float16))
    assert takes(placed(stack, torch.float32))
    assert takes(None)
