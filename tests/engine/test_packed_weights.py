"""Packed weights: the plain weights' products and gradients, wherever nothing of the weights is learned."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine import packed_weights
from engine.base import load_base
from engine.decoding import Row, generate
from engine.prompts import messages_for
from tests.support.families import BASE_MODEL


def bfloat16_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 96), nn.Linear(96, 32, bias=False)).to(torch.bfloat16).requires_grad_(False)


@pytest.mark.parametrize("rows", [(5, 1), (1, 300)])
def test_few_and_many_rows_get_the_plain_weights_products(
    rows: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, used = bfloat16_model(), []
    x = torch.randn(*rows, 64).to(torch.bfloat16)
    plain = model(x)
    multiplied = packed_weights._multiplied
    monkeypatch.setattr(packed_weights, "_multiplied", lambda *a: used.append(1) or multiplied(*a))  # type: ignore[func-returns-value]
    if not packed_weights.pack(model):
        pytest.skip("this torch has no packed products")
    used.clear()

    with torch.inference_mode():
        assert torch.allclose(model(x).float(), plain.float(), rtol=2e-2, atol=2e-2)
    assert len(used) == 2


def test_what_is_learned_through_them_gets_the_plain_weights_gradient() -> None:
    plain, packed = bfloat16_model(), bfloat16_model()
    if not packed_weights.pack(packed):
        pytest.skip("this torch has no packed products")
    x = torch.randn(2, 40, 64).to(torch.bfloat16)
    gradient, gradients = torch.randn(2, 40, 32).to(torch.bfloat16), []
    for model in (plain, packed):
        given = x.clone().requires_grad_()
        model(given).backward(gradient)
        gradients.append(given.grad)

    assert torch.allclose(gradients[1].float(), gradients[0].float(), rtol=2e-2, atol=2e-2)
    last, first = packed[1], gradient.view(80, 32)
    assert torch.allclose(packed_weights.back(last, first), packed_weights.back(plain[1], first), rtol=2e-2, atol=2e-2)


def test_weights_that_are_learned_themselves_are_not_packed() -> None:
    assert not packed_weights.pack(bfloat16_model().requires_grad_())


@pytest.mark.parametrize("broken", [AttributeError, RuntimeError])
def test_a_torch_without_the_operators_is_left_as_it_is(
    broken: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> torch.Tensor:
        raise broken("no such operator")

    monkeypatch.setattr(packed_weights, "_multiplied", fail)
    model = bfloat16_model()
    assert not packed_weights.pack(model)
    with torch.inference_mode():
        model(torch.randn(1, 64).to(torch.bfloat16))


def test_operators_that_compute_otherwise_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_weights, "_multiplied", lambda x, *_: torch.zeros(*x.shape[:-1], 96))
    assert not packed_weights.pack(bfloat16_model())


def test_float32_and_models_too_large_to_keep_twice_are_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not packed_weights.pack(bfloat16_model().float())
    monkeypatch.setattr(packed_weights, "MOST_BYTES", 1000)
    assert not packed_weights.pack(bfloat16_model())


def test_the_trained_base_answers_alike_with_and_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("engine.base.pack", lambda _model: False)
        plain = load_base(str(BASE_MODEL), device="cpu", dtype="bfloat16", threads=1)
    answers = []
    for base in (plain, load_base(str(BASE_MODEL), device="cpu", dtype="bfloat16", threads=1)):
        row = Row(base.format.prompt_ids(messages_for("how are you?")), None, 12)
        generate(base, [row])
        answers.append(row.tokens)

    assert answers[0] == answers[1]
