"""Several stacks of one configuration as one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.averaging import average_stacks
from engine.configuration import Configuration
from engine.stack import Stack

CONFIGURATION = Configuration.from_bits("10", n=2, r=2)
WIDE, NARROW = "layers.0.up", "layers.0.down"
SHAPES = {WIDE: (7, 24), NARROW: (24, 3)}
"""Projection -> (d_out, d_in); one is narrower than the rank of 4."""


def drawn(seed: int, *, configuration: Configuration = CONFIGURATION, dtype: torch.dtype = torch.float32) -> Stack:
    generator, rank = torch.Generator().manual_seed(seed), configuration.total_rank
    a = {name: torch.randn(rank, d_in, generator=generator).to(dtype) for name, (_, d_in) in SHAPES.items()}
    b = {name: torch.randn(d_out, rank, generator=generator).to(dtype) for name, (d_out, _) in SHAPES.items()}
    return Stack(configuration, a, b)


def product(stack: Stack, name: str) -> Tensor:
    return stack.b[name].float() @ stack.a[name].float()


def test_the_average_is_the_best_of_its_rank_to_the_mean_of_what_the_stacks_do() -> None:
    stacks = [drawn(seed) for seed in range(3)]
    average = average_stacks(stacks)
    for name in SHAPES:
        mean = torch.stack([product(stack, name) for stack in stacks]).mean(dim=0)
        left_out = torch.linalg.svdvals(mean)[CONFIGURATION.total_rank :]
        torch.testing.assert_close(
            torch.linalg.matrix_norm(product(average, name) - mean), left_out.norm(), atol=1e-4, rtol=1e-4
        )


def test_stacks_that_agree_are_their_own_average() -> None:
    stack = drawn(1)
    # Another basis of the same products: halves that are averaged one by one would come out as something else.
    turn, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(9)))
    turned = Stack(
        CONFIGURATION, {k: turn @ t for k, t in stack.a.items()}, {k: t @ turn.T for k, t in stack.b.items()}
    )
    average = average_stacks([stack, turned, stack])
    for name in SHAPES:
        torch.testing.assert_close(product(average, name), product(stack, name), atol=1e-4, rtol=1e-4)


def test_an_average_has_the_shapes_and_the_precision_of_its_stacks_also_where_a_projection_is_narrow() -> None:
    stacks = [drawn(seed, dtype=torch.bfloat16) for seed in (1, 2)]
    average = average_stacks(stacks)
    assert average.configuration == CONFIGURATION
    for half, of_first in ((average.a, stacks[0].a), (average.b, stacks[0].b)):
        assert {name: (t.shape, t.dtype) for name, t in half.items()} == {
            name: (t.shape, t.dtype) for name, t in of_first.items()
        }
        assert all(torch.isfinite(t).all() for t in half.values())


def test_one_stack_is_its_own_average_to_the_last_bit() -> None:
    stack = drawn(1)
    assert average_stacks([stack]) is stack


def test_stacks_that_began_with_zero_and_learned_nothing_average_to_nothing() -> None:
    stacks = [drawn(seed) for seed in (1, 2)]
    empty = [Stack(CONFIGURATION, s.a, {name: torch.zeros_like(t) for name, t in s.b.items()}) for s in stacks]
    average = average_stacks(empty)
    assert all(float(product(average, name).abs().max()) == 0.0 for name in SHAPES)


def test_no_stacks_or_stacks_of_two_configurations_have_no_average() -> None:
    other = drawn(2, configuration=Configuration.from_bits("10", n=1, r=4))
    for stacks in ([], [drawn(1), other]):
        with pytest.raises(ValueError, match="one configuration"):
            average_stacks(stacks)
