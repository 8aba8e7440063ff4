"""Attention over sequences end to end: what each gets alone, forward and backward, by every way it is computed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from engine import attention, compiled
from engine.attention import Kind, Packed

LENGTHS = [3, 9, 30, 8, 1, 17]
HEADS, DIM = 4, 8


def drawn(heads: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, heads, sum(LENGTHS), DIM, generator=generator).requires_grad_()


def one_by_one(query: Tensor, key: Tensor, value: Tensor, kind: Kind) -> Tensor:
    parts, start = [], 0
    shared = query.shape[1] // key.shape[1]
    for length in LENGTHS:
        own = [t[:, :, start : start + length] for t in (query, key, value)]
        mask = torch.ones(length, length, dtype=torch.bool).tril()
        if kind.window is not None:
            mask &= ~torch.ones(length, length, dtype=torch.bool).tril(-kind.window)
        keys, values = (t.repeat_interleave(shared, dim=1) for t in own[1:])
        if kind.softcap is None:
            out = scaled_dot_product_attention(own[0], keys, values, attn_mask=mask, scale=kind.scale)
        else:
            scores = kind.softcap * torch.tanh(own[0] @ keys.transpose(2, 3) * kind.scale / kind.softcap)
            out = torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1) @ values
        parts.append(out.transpose(1, 2))
        start += length
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize(
    ("longest", "least_width"),
    [(512, 1 << 20), (512, 1), (0, 1)],
    ids=["by products", "by products and kernels between them", "by torch's fused kernels"],
)
@pytest.mark.parametrize("heads", [HEADS, 2], ids=["own keys", "shared keys"])
@pytest.mark.parametrize("kind", [Kind(0, 0.3, None, None), Kind(0, 0.3, 5, None), Kind(0, 0.3, 5, 2.0)], ids=str)
def test_each_sequence_gets_what_it_gets_alone_and_so_do_its_gradients(
    longest: int, least_width: int, heads: int, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "LONGEST_BY_PRODUCTS", longest)
    monkeypatch.setattr(compiled, "LEAST_WIDTH", least_width)
    inputs = drawn(HEADS, 1), drawn(heads, 2), drawn(heads, 3)
    together, alone = Packed(LENGTHS).attend(*inputs, kind), one_by_one(*inputs, kind)
    sent_back = torch.randn(alone.shape, generator=torch.Generator().manual_seed(4))

    assert torch.allclose(together, alone, atol=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad(together, inputs, sent_back), torch.autograd.grad(alone, inputs, sent_back), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("least_width", [1 << 20, 1], ids=["torch", "kernels"])
def test_in_bfloat16_the_products_are_as_near_as_its_eight_bits_allow(
    least_width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "LEAST_WIDTH", least_width)
    kind = Kind(0, 0.3, None, None)
    inputs = drawn(HEADS, 1), drawn(HEADS, 2), drawn(HEADS, 3)
    exact = one_by_one(*inputs, kind)
    rounded = Packed(LENGTHS).attend(*(t.to(torch.bfloat16) for t in inputs), kind)

    assert (rounded.float() - exact).abs().max() < 0.03 * exact.abs().max()
