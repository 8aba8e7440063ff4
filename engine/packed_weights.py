"""Weights laid out once as a CPU's bfloat16 multiplication wants them, for decoding.

oneDNN repacks a plain weight at every call: nothing beside the products of many tokens, but nearly half the time of one
token's (`make bench-kernels`). torch's compiler packs them with the same operators, which have no public name; where
they are missing or answer otherwise than the plain ones, everything stays as it is. Must not know which model it packs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

MOST_ROWS = 64
"""Rows of a decoding step; with more the plain weights are as fast."""
MOST_BYTES = 2 << 30
"""Largest model that is packed: its weights are kept twice."""


def pack(model: nn.Module) -> bool:
    """Give a bfloat16 model's linear layers on a CPU packed weights beside their plain ones; whether it was done."""
    layers = [m for m in model.modules() if type(m) is nn.Linear and m.weight.dtype == torch.bfloat16]
    size = sum(layer.weight.numel() * layer.weight.itemsize for layer in layers)
    if not layers or layers[0].weight.device.type != "cpu" or size > MOST_BYTES or not _works(layers[0]):
        return False
    for layer in layers:
        layer.forward = _packed(layer, layer.forward)  # type: ignore[method-assign, assignment]  # this layer's alone
    return True


def _packed(layer: nn.Linear, plain: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    weight = _reordered(layer.weight)

    def forward(x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or x.numel() > MOST_ROWS * x.shape[-1]:
            return plain(x)
        return _multiplied(x, weight, layer.bias)

    return forward


def _reordered(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), MOST_ROWS)
    return packed


def _multiplied(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


@torch.inference_mode()
def _works(layer: nn.Linear) -> bool:
    """Whether the operators are there and give what the plain ones do."""
    x = torch.linspace(-1, 1, 3 * layer.in_features).view(3, 1, layer.in_features).to(torch.bfloat16)
    try:
        packed = _multiplied(x, _reordered(layer.weight), layer.bias)
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):  # torch without them, or with others
        return False
    plain = layer(x)
    return packed.shape == plain.shape and torch.allclose(packed.float(), plain.float(), rtol=2e-2, atol=1e-2)
