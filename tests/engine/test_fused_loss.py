"""The loss in one pass gives torch's losses and gradients, and says when numbers overflow."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from engine import compiled, fused_loss
from engine.base import Base
from engine.batches import lay_out
from engine.grouped import Route
from engine.losses import encode_samples, target_losses
from engine.training import Course, train_candidates
from tests.engine.test_training import CANDIDATE, HISTORY, SETTINGS, assert_same_weights

WIDTH, VOCABULARY, TOKENS = 24, 301, 37
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}


def frozen_head(dtype: torch.dtype = torch.float32, *, bias: bool = False) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, VOCABULARY, bias=bias).to(dtype).requires_grad_(False)


def hidden_and_targets(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return (20 * torch.randn(TOKENS, WIDTH)).to(dtype), torch.randint(0, VOCABULARY, (TOKENS,))


def plainly(head: nn.Linear, hidden: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    return cross_entropy(head(hidden).float(), targets, reduction="none", label_smoothing=smoothing)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("at_once", [VOCABULARY * 10, 1 << 24])
def test_losses_and_gradients_are_those_of_torch(
    dtype: torch.dtype, smoothing: float, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_loss, "MOST_LOGITS", at_once)
    head, (hidden, targets) = frozen_head(dtype, bias=True), hidden_and_targets(dtype)
    weights, found = torch.rand(TOKENS), []
    for losses_of in (plainly, fused_loss.cross_entropies):
        given = hidden.clone().requires_grad_()
        losses = losses_of(head, given, targets, smoothing)
        (losses * weights).sum().backward()
        assert given.grad is not None
        found.append((losses, given.grad.float()))

    (losses, gradient), (own_losses, own_gradient) = found
    assert torch.allclose(own_losses, losses, rtol=1e-5, atol=1e-4)
    assert torch.allclose(own_gradient, gradient, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * gradient.abs().max())


def test_losses_without_a_gradient_are_the_same() -> None:
    head, (hidden, targets) = frozen_head(), hidden_and_targets()
    with torch.inference_mode():
        found = fused_loss.cross_entropies(head, hidden, targets, 0.1)
    assert torch.allclose(found, plainly(head, hidden, targets, 0.1), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("broken", [float("inf"), float("nan")])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_token_whose_numbers_overflow_has_no_finite_loss_and_the_others_theirs(
    broken: float, smoothing: float
) -> None:
    head, (hidden, targets) = frozen_head(), hidden_and_targets()
    hidden[3, 5] = broken
    found = fused_loss.cross_entropies(head, hidden.requires_grad_(), targets, smoothing)
    assert found.isfinite().tolist() == [token != 3 for token in range(TOKENS)]


def test_a_head_that_is_learned_or_is_more_than_a_product_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "LEAST_WIDTH", 1)
    hidden, _ = hidden_and_targets()
    assert fused_loss.takes(frozen_head(), hidden)
    for other in (None, frozen_head().requires_grad_(), nn.Sequential(frozen_head()), frozen_head(torch.bfloat16)):
        assert not fused_loss.takes(other, hidden)
    monkeypatch.undo()
    assert not fused_loss.takes(frozen_head(), hidden), "too narrow to compile anything for"


@pytest.mark.parametrize("family", ["llama", "gpt2", "roberta", "gemma2"])
def test_a_bases_losses_are_the_same_either_way(
    family: str, tiny_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_base(family)
    batch = lay_out(encode_samples(base, HISTORY[:5], 128))
    with torch.no_grad():
        plain = target_losses(base, Route.base(), batch, smoothing=0.1)
        monkeypatch.setattr(compiled, "LEAST_WIDTH", 1)
        found = target_losses(base, Route.base(), batch, smoothing=0.1)
    assert torch.allclose(found, plain, atol=1e-5)


def test_a_candidate_ends_with_the_same_weights_either_way(
    tiny_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    course = Course(HISTORY, SETTINGS)
    (plain,) = train_candidates(tiny_base("llama"), [CANDIDATE], course)
    monkeypatch.setattr(compiled, "LEAST_WIDTH", 1)
    (found,) = train_candidates(tiny_base("llama"), [CANDIDATE], course)
    assert_same_weights(found, plain)
