"""Attention with kernels between its products: the models' own numbers, rotation within, and when it is used at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from engine import compiled, fused_attention, fused_layers, row_attention, row_kernel
from engine.answering import AnsweringEngine
from engine.attention import Kind, Packed
from engine.base import Base
from engine.configuration import Configuration
from engine.fused_attention import Heads
from engine.grouped import Route
from engine.key_values import KeyValues
from engine.prompts import messages_for
from engine.training import Course, train_candidates
from tests.engine.conftest import random_stack
from tests.engine.test_training import CANDIDATE, HISTORY, SETTINGS, assert_same_weights

LENGTHS, DIM, SCALE = [7, 30, 6, 1], 8, 0.3
OWN = Heads(4, 4, DIM, SCALE, None)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """However narrow the model; how often kernels were called for."""
    used: list[int] = []
    attend = fused_attention.attend
    monkeypatch.setattr(compiled, "LEAST_WIDTH", 1)
    monkeypatch.setattr(fused_attention, "attend", lambda *a, **n: used.append(1) or attend(*a, **n))  # type: ignore[func-returns-value]
    return used


def projected(keys: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(sum(LENGTHS), (4 + 2 * keys) * DIM, generator=generator).to(dtype).requires_grad_()


def angles(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    positions = Packed(LENGTHS).positions(torch.device("cpu")).float()[0]
    both = torch.cat([positions[:, None] / 10.0 ** (torch.arange(DIM // 2) / 2)] * 2, dim=-1)
    return both.cos().to(dtype), both.sin().to(dtype)


def rotated_before(given: Tensor, keys: int, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values as transformers gives them: 1 x heads x tokens x dim."""
    query, key, value = given.unflatten(1, (-1, DIM)).transpose(0, 1).unsqueeze(0).split([4, keys, keys], dim=1)
    return *apply_rotary_pos_emb(query, key, *(a.unsqueeze(0) for a in rotary)), value


def near(found: Tensor, expected: Tensor, bound: float) -> bool:
    found, expected = found.detach().float(), expected.detach().float()
    return torch.allclose(found, expected, atol=bound * float(expected.abs().max()))


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)], ids=str)
@pytest.mark.parametrize("keys", [4, 2], ids=["own keys", "shared keys"])
def test_positions_rotated_within_are_positions_rotated_before(keys: int, dtype: torch.dtype, bound: float) -> None:
    given, rotary, kept = projected(keys, dtype), angles(dtype), []
    layout = Packed(LENGTHS, lambda kind, key, value: kept.append((kind.layer, key, value)))
    within = layout.attend_rotating(given, rotary, Heads(4, keys, DIM, SCALE, None), layer=5)
    before = rotated_before(given, keys, rotary)
    plain = Packed(LENGTHS).attend(*before, Kind(0, SCALE, None, None)).flatten(0, 1).flatten(1)
    sent_back = torch.randn(plain.shape, generator=torch.Generator().manual_seed(4)).to(dtype)

    assert near(within, plain, bound)
    assert near(
        *(torch.autograd.grad(out, given, sent_back, retain_graph=True)[0] for out in (within, plain)), bound=bound
    )
    ((layer, key, value),) = kept
    assert layer == 5
    assert near(key, before[1], bound)
    assert torch.equal(value, before[2])


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)], ids=str)
@pytest.mark.parametrize("keys", [4, 2], ids=["own keys", "shared keys"])
def test_a_decoded_row_rotated_within_is_one_rotated_before(keys: int, dtype: torch.dtype, bound: float) -> None:
    given, rotary = projected(keys, dtype).detach(), angles(dtype)
    rows, answers, caches = len(given), [], []
    for rotating in (True, False):
        kept = KeyValues()
        prompts = kept.prompts([3] * rows)
        generator = torch.Generator().manual_seed(7)
        past = (torch.randn(1, keys, 3 * rows, DIM, generator=generator).to(dtype) for _ in range(2))
        prompts._keep(Kind(0, SCALE, None, None), *past)  # type: ignore[misc, union-attr]
        step = kept.step(torch.device("cpu"))
        if rotating:
            answers.append(step.attend_rotating(given.clone(), rotary, Heads(4, keys, DIM, SCALE, None), layer=0))
        else:
            by_row = (t[0].transpose(0, 1).unsqueeze(2) for t in rotated_before(given, keys, rotary))
            answers.append(step.attend(*by_row, Kind(0, SCALE, None, None)).flatten(1))
        caches.append(torch.cat([torch.cat(kept.row(0, row)) for row in range(rows)]))

    assert near(*answers, bound=bound)
    assert near(*caches, bound=bound)


def test_a_sequence_gets_to_the_last_bit_what_it_gets_in_other_company(always: list[int]) -> None:
    given, rotary = projected(4, torch.bfloat16), angles(torch.bfloat16)
    together = Packed(LENGTHS).attend_rotating(given, rotary, OWN, 0)
    start = 0
    for length in LENGTHS:
        own, cos, sin = (tensor[start : start + length] for tensor in (given, *rotary))
        alone = Packed([length]).attend_rotating(own, (cos, sin), OWN, 0)
        assert torch.equal(alone, together[start : start + length])
        start += length
    assert len(always) == 1 + len(LENGTHS)


def test_what_overflows_stays_seen() -> None:
    given = projected(4, torch.float32).detach()
    given[10] = float("nan")  # as all of a token's projections are, once its state has overflowed
    out = Packed(LENGTHS).attend_rotating(given, angles(torch.float32), OWN, 0)
    seen_by = torch.arange(sum(LENGTHS))
    assert torch.equal(out.isnan().any(dim=1), (seen_by >= 7) & (seen_by < 37))


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
    always.clear()  # whoever is the first to ask for this base makes it, and that is no call of this test
    with torch.no_grad():
        base.hidden_states(ids, Packed(LENGTHS), route=Route.base())
    assert len(always) == base.n_layers


def test_narrow_models_wait_for_no_compiler(tiny_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_attention, "_compiled", lambda _dtype: pytest.fail("a kernel was wanted"))
    base, ids = tiny_base("llama"), torch.randint(10, 8000, (1, sum(LENGTHS)))
    with torch.no_grad():
        base.hidden_states(ids, Packed(LENGTHS), route=Route.base())


def test_no_answer_waits_for_a_compiler(tiny_base: Callable[[str], Base], always: list[int]) -> None:
    modules = (fused_attention, fused_layers, row_attention, row_kernel)
    for module in modules:
        module._compiled.cache_clear()
    base = tiny_base("llama")
    engine = AnsweringEngine(base, max_batch_rows=2, max_queue=4, bank_stacks=2)
    engine.start()
    kernels = [module._compiled(base.dtype) for module in modules]
    flat = [kernel for some in kernels for kernel in (some if isinstance(some, tuple) else (some,))]
    compiled_at_start = [len(kernel.signatures) for kernel in flat]
    stack = random_stack(base, Configuration((True, False, True), 1, 8), seed=1)
    answers = [
        engine.submit(messages_for(query), stack_key=query, load_stack=lambda: stack, max_new_tokens=4)
        for query in ("hello", "a longer query of several words, so that two lengths are read")
    ]
    for answer in answers:
        answer.text()
    engine.close()
    assert always
    assert [len(kernel.signatures) for kernel in flat] == compiled_at_start
