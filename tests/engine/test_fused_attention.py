"""Attention with kernels between its products: the models' own numbers, rotation within, and when it is used at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from engine import compiled, fused_attention
from engine.attention import Kind, Packed
from engine.base import Base
from engine.grouped import Route
from engine.training import Course, train_candidates
from tests.engine.test_training import CANDIDATE, HISTORY, SETTINGS, assert_same_weights

LENGTHS, DIM = [7, 30, 6, 1], 8
KIND = Kind(0, 0.3, None, None)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """However narrow the model; how often kernels were called for."""
    used: list[int] = []
    attend = fused_attention.attend
    monkeypatch.setattr(compiled, "LEAST_WIDTH", 1)
    monkeypatch.setattr(fused_attention, "attend", lambda *a, **n: used.append(1) or attend(*a, **n))  # type: ignore[func-returns-value]
    return used


def projected(heads: int, seed: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, sum(LENGTHS), heads * DIM, generator=generator).to(dtype).requires_grad_()


def angles(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    positions = Packed(LENGTHS).positions(torch.device("cpu")).float()
    both = torch.cat([positions[..., None] / 10.0 ** (torch.arange(DIM // 2) / 2)] * 2, dim=-1)
    return both.cos().to(dtype), both.sin().to(dtype)


def both_ways(heads: int, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """Output and gradients where positions are rotated within the attention, and before it as transformers does."""
    query, key, value = projected(4, 1, dtype), projected(heads, 2, dtype), projected(heads, 3, dtype)
    cos, sin = angles(dtype)
    within = Packed(LENGTHS).attend_rotating(query, key, value, (cos, sin), DIM, KIND)
    apart = [flat.unflatten(2, (-1, DIM)).transpose(1, 2) for flat in (query, key, value)]
    before = Packed(LENGTHS).attend(*apply_rotary_pos_emb(*apart[:2], cos, sin), apart[2], KIND).flatten(2)
    sent_back = torch.randn(before.shape, generator=torch.Generator().manual_seed(4)).to(dtype)
    yield within, before
    inputs = (query, key, value)
    yield from zip(
        torch.autograd.grad(within, inputs, sent_back), torch.autograd.grad(before, inputs, sent_back), strict=True
    )


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)], ids=str)
@pytest.mark.parametrize("heads", [4, 2], ids=["own keys", "shared keys"])
def test_positions_rotated_within_are_positions_rotated_before(heads: int, dtype: torch.dtype, bound: float) -> None:
    for within, before in both_ways(heads, dtype):
        found, expected = within.detach().float(), before.detach().float()
        assert torch.allclose(found, expected, atol=bound * float(expected.abs().max()))


def test_a_sequence_gets_to_the_last_bit_what_it_gets_in_other_company(always: list[int]) -> None:
    inputs = [projected(4, seed, torch.bfloat16) for seed in (1, 2, 3)]
    turns = angles(torch.bfloat16)
    together = Packed(LENGTHS).attend_rotating(*inputs, turns, DIM, KIND)
    start = 0
    for length in LENGTHS:
        own = [tensor[:, start : start + length] for tensor in (*inputs, *turns)]
        alone = Packed([length]).attend_rotating(*own[:3], (own[3], own[4]), DIM, KIND)
        assert torch.equal(alone, together[:, start : start + length])
        start += length
    assert len(always) == 1 + len(LENGTHS)


def test_what_overflows_stays_seen(always: list[int]) -> None:
    inputs = [projected(4, seed, torch.float32).detach() for seed in (1, 2, 3)]
    for tensor in inputs:  # as all of a token's projections are, once its state has overflowed
        tensor[0, 10] = float("nan")
    out = Packed(LENGTHS).attend_rotating(*inputs, angles(torch.float32), DIM, KIND)
    seen_by = torch.arange(sum(LENGTHS))
    assert torch.equal(out[0].isnan().any(dim=1), (seen_by >= 7) & (seen_by < 37))
    assert always


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "gpt2", "roberta"])
def test_a_candidate_ends_with_the_same_weights_either_way(
    family: str, tiny_base: Callable[[str], Base], request: pytest.FixtureRequest
) -> None:
    base, course = tiny_base(family), Course(HISTORY, SETTINGS)
    (plain,) = train_candidates(base, [CANDIDATE], course)
    used = request.getfixturevalue("always")
    (found,) = train_candidates(base, [CANDIDATE], course)
    assert used
    assert_same_weights(found, plain)


def test_of_llama_queries_are_not_rotated_by_transformers(
    tiny_base: Callable[[str], Base], always: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_base("llama")
    monkeypatch.setattr(
        "transformers.models.llama.modeling_llama.apply_rotary_pos_emb", lambda *_: pytest.fail("rotated twice")
    )
    ids = torch.randint(10, 8000, (1, sum(LENGTHS)))
    with torch.no_grad():
        base.hidden_states(ids, Packed(LENGTHS), route=Route.base())
    assert len(always) == base.n_layers


def test_answering_and_narrow_models_wait_for_no_compiler(
    tiny_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_attention, "_compiled", lambda _dtype: pytest.fail("a kernel was wanted"))
    base, ids = tiny_base("llama"), torch.randint(10, 8000, (1, sum(LENGTHS)))
    with torch.no_grad():
        base.hidden_states(ids, Packed(LENGTHS), route=Route.base())
    monkeypatch.setattr(compiled, "LEAST_WIDTH", 1)
    with torch.inference_mode():
        base.hidden_states(ids, Packed(LENGTHS), route=Route.base())
