"""Many stacks in one batch: the paper's sum, true ranks, and rows that do not know of each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from engine.attention import Packed
from engine.base import Base
from engine.configuration import Configuration
from engine.grouped import Route
from engine.stack import Stack
from tests.engine.conftest import random_stack

FAMILIES = ("llama", "gpt2", "roberta")
TOKENS = 20
IDS = torch.randint(6, 8192, (5, TOKENS), generator=torch.Generator().manual_seed(0))


def logits(base: Base, ids: torch.Tensor, route: Route) -> torch.Tensor:
    """Of rows x tokens, as sequences end to end; `route` counts tokens."""
    with torch.inference_mode():
        hidden = base.hidden_states(ids.reshape(1, -1), Packed([ids.shape[1]] * len(ids)), route=route)
        return base.logits(hidden).view(*ids.shape, -1)


@pytest.mark.parametrize("family", FAMILIES)
def test_n_loras_summed_as_in_the_paper_equal_the_concatenated_stack(
    family: str, tiny_base: Callable[[str], Base]
) -> None:
    base = tiny_base(family)
    n, r = 3, 8
    stack = random_stack(base, Configuration((True, False, True), n, r), seed=1)

    def naive(name: str) -> Callable[..., torch.Tensor]:
        def hook(_module: object, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            total = output
            for k in range(n):
                a, b = stack.a[name][k * r : (k + 1) * r], stack.b[name][:, k * r : (k + 1) * r]
                total = total + inputs[0] @ a.T @ b.T
            return total

        return hook

    hooks = [base.model.get_submodule(name).register_forward_hook(naive(name)) for name in stack.a]
    summed = logits(base, IDS, Route.base())
    for hook in hooks:
        hook.remove()
    concatenated = logits(base, IDS, Route.of([(5 * TOKENS, stack.a, stack.b)]))

    assert not torch.allclose(summed, logits(base, IDS, Route.base()), atol=1e-2)
    assert torch.allclose(summed, concatenated, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_before_any_training_a_stack_changes_no_logit(family: str, tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base(family)
    stack = random_stack(base, Configuration((True, True, True), 4, 16), seed=2)
    untrained = {name: torch.zeros_like(b) for name, b in stack.b.items()}

    assert torch.equal(logits(base, IDS, Route.of([(5 * TOKENS, stack.a, untrained)])), logits(base, IDS, Route.base()))


@pytest.mark.parametrize("family", FAMILIES)
def test_each_row_goes_through_its_own_stack_and_a_row_without_one_through_the_base(
    family: str, tiny_base: Callable[[str], Base]
) -> None:
    base = tiny_base(family)
    stacks: list[Stack | None] = [
        random_stack(base, Configuration((True, False, False), 1, 8), seed=3),
        None,
        random_stack(base, Configuration((False, True, True), 2, 32), seed=4),
        None,
        random_stack(base, Configuration((True, True, True), 5, 96), seed=5),
    ]
    together = logits(base, IDS, Route.of([(TOKENS, s.a, s.b) if s else (TOKENS, {}, {}) for s in stacks]))

    for row, stack in enumerate(stacks):
        route = Route.of([(TOKENS, stack.a, stack.b)]) if stack else Route.base()
        assert torch.allclose(together[row : row + 1], logits(base, IDS[row : row + 1], route), atol=1e-4), row


def test_gradients_flow_to_each_stack_from_its_own_rows_only(tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")
    first = random_stack(base, Configuration((True, False, True), 1, 8), seed=6)
    second = random_stack(base, Configuration((False, True, True), 2, 8), seed=7)
    for tensor in (*first.a.values(), *first.b.values(), *second.a.values(), *second.b.values()):
        tensor.requires_grad_()

    route = Route.of([(40, first.a, first.b), (20, {}, {}), (40, second.a, second.b)])
    hidden = base.hidden_states(IDS.reshape(1, -1), Packed([TOKENS] * 5), route=route)
    base.logits(hidden)[0, : 2 * TOKENS].logsumexp(-1).sum().backward()

    assert all(t.grad is not None and t.grad.abs().sum() > 0 for t in (*first.a.values(), *first.b.values()))
    assert all(t.grad is None or t.grad.abs().sum() == 0 for t in (*second.a.values(), *second.b.values()))


def test_a_layer_left_out_by_every_stack_runs_no_lora(tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")
    stack = random_stack(base, Configuration((False, False, True), 2, 8), seed=8)

    assert {name.split(".")[2] for name in Route.of([(3, stack.a, stack.b)]).segments} == {"2"}
