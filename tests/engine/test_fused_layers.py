"""Norms and gated activations in one pass give the model's own numbers, forward and back."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import GemmaConfig, LlamaConfig
from transformers.models.gemma.modeling_gemma import GemmaMLP, GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from engine import compiled, fused_layers
from engine.base import Base
from engine.training import Course, train_candidates
from tests.engine.test_training import CANDIDATE, HISTORY, SETTINGS, assert_same_weights

WIDTH, INNER = 40, 72
SIZES = {"hidden_size": WIDTH, "intermediate_size": INNER, "num_attention_heads": 4}
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little there is to compute."""
    monkeypatch.setattr(compiled, "LEAST_WIDTH", 1)


def norm() -> nn.Module:
    made = LlamaRMSNorm(WIDTH, eps=1e-5)
    nn.init.uniform_(made.weight, 0.5, 1.5)
    return made


def frozen(made: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    return made.to(dtype).requires_grad_(False)


def through(module: nn.Module, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """What the module makes of x, and the gradient of x."""
    given = x.clone().requires_grad_()
    out = module(given)
    (found,) = torch.autograd.grad(out, given, gradient)
    return out.detach().float(), found.float()


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("make", [norm, lambda: LlamaMLP(LlamaConfig(**SIZES))], ids=["norm", "gated"])
def test_outputs_and_gradients_are_the_models_own(make: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    plain = frozen(make(), dtype)
    fused = copy.deepcopy(plain)
    assert fused_layers.fuse(fused) == 1
    x, gradient = (torch.randn(2, 33, WIDTH).to(dtype) for _ in range(2))
    for scale in (0.1, 1.0, 30.0):
        for found, expected in zip(
            through(fused, scale * x, gradient), through(plain, scale * x, gradient), strict=True
        ):
            bound = TOLERANCE[dtype]
            assert torch.allclose(found, expected, rtol=bound, atol=bound * float(expected.abs().max()))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("broken", [float("inf"), float("nan")])
def test_what_overflows_stays_seen(broken: float) -> None:
    for made in (frozen(norm()), frozen(LlamaMLP(LlamaConfig(**SIZES)))):
        fused_layers.fuse(made)
        x = torch.randn(1, 3, WIDTH)
        x[0, 1, 2] = broken
        out = made(x.requires_grad_())
        assert out.isfinite().all(dim=-1).tolist() == [[True, False, True]]


def test_what_computes_otherwise_is_left_as_it_is() -> None:
    gemma = GemmaConfig(**SIZES)
    of_gemma = nn.init.uniform_(GemmaRMSNorm(WIDTH).weight, 0.5, 1.5)
    other = GemmaRMSNorm(WIDTH)
    other.weight = nn.Parameter(of_gemma)
    other.variance_epsilon = other.eps  # as if it were called so
    for made in (other, GemmaMLP(gemma), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, INNER)):
        assert fused_layers.fuse(frozen(made)) == 0


def test_what_is_learned_itself_is_left_as_it_is() -> None:
    assert fused_layers.fuse(norm()) == 0
    assert fused_layers.fuse(LlamaMLP(LlamaConfig(**SIZES))) == 0


def test_narrow_models_wait_for_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    made = frozen(norm())
    assert fused_layers.fuse(made) == 1
    monkeypatch.setattr(fused_layers, "_compiled", lambda _dtype: pytest.fail("a kernel was wanted"))
    made(torch.randn(1, 3, WIDTH, requires_grad=True))


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_candidate_ends_with_the_same_weights_either_way(
    family: str, tiny_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, course = tiny_base(family), Course(HISTORY, SETTINGS)
    (plain,) = train_candidates(base, [CANDIDATE], course)
    used, kernels = [], fused_layers._compiled
    monkeypatch.setattr(compiled, "LEAST_WIDTH", 1)
    monkeypatch.setattr(fused_layers, "_compiled", lambda dtype: used.append(dtype) or kernels(dtype))
    (found,) = train_candidates(base, [CANDIDATE], course)
    assert used
    assert_same_weights(found, plain)
