"""Weights laid out once as a CPU's bfloat16 multiplication wants them, forward and back.

oneDNN repacks a plain weight at every call: nearly half the time of one token's product, and 7 % of a training step's
(`make bench-kernels`). torch's compiler packs them with the same operators, which have no public name; where they are
missing or answer otherwise than the plain ones, everything stays as it is. Must not know which model it packs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

ROWS = 64
"""What oneDNN is told to expect; the layout is the same for more and for fewer."""
MOST_BYTES = 2 << 30
"""Largest model that is packed: its weights are kept twice, and once more where it is learned through."""


def pack(model: nn.Module) -> bool:
    """Give a frozen bfloat16 model's linear layers on a CPU packed weights beside their own; whether it was done."""
    linear = [m for m in model.modules() if type(m) is nn.Linear]
    layers = [m for m in linear if m.weight.dtype == torch.bfloat16 and not m.weight.requires_grad]
    size = sum(layer.weight.numel() * layer.weight.itemsize for layer in layers)
    if not layers or layers[0].weight.device.type != "cpu" or size > MOST_BYTES or not _works(layers[0]):
        return False
    for layer in layers:
        layer.forward = PackedProduct([layer])  # type: ignore[method-assign, assignment]  # this layer's alone
    return True


def side_by_side(layers: Sequence[nn.Linear]) -> Callable[[Tensor], Tensor]:
    """What these layers give for the same input, side by side: in one product, where all of them are packed.

    One token's three products take twice as long as one of three times the width.
    """
    packed = all(isinstance(layer.forward, PackedProduct) for layer in layers)
    if packed and len({layer.bias is None for layer in layers}) == 1:
        return PackedProduct(layers)
    return lambda x: torch.cat([layer(x) for layer in layers], dim=-1)


def back(layer: nn.Linear, gradient: Tensor) -> Tensor:
    """The gradient of a frozen layer's input, of that of its output (rows x out)."""
    product = layer.forward
    return product.back(gradient) if isinstance(product, PackedProduct) else gradient @ layer.weight


class PackedProduct:
    """A frozen linear layer's forward, or that of several side by side, and the way back. Threads may share it."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self._layers = layers
        self._weight = _reordered(_joined([layer.weight for layer in layers]))
        self._bias = None if layers[0].bias is None else _joined([layer.bias for layer in layers])

    def __call__(self, x: Tensor) -> Tensor:
        if x.requires_grad and torch.is_grad_enabled():
            product: Tensor = _Product.apply(x, self)  # type: ignore[no-untyped-call]  # torch's own
            return product
        return self.forward(x)

    def forward(self, x: Tensor) -> Tensor:
        return _multiplied(x, self._weight, self._bias)

    def back(self, gradient: Tensor) -> Tensor:
        return _multiplied(gradient, self._transposed, None)

    @cached_property
    def _transposed(self) -> Tensor:
        """Made when something is learned: answering never looks at it."""
        return _reordered(_joined([layer.weight for layer in self._layers]).t().contiguous())


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, product: PackedProduct) -> Tensor:
        ctx.product = product
        return product.forward(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.product.back(gradients[0].contiguous()), None


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat([tensor.detach() for tensor in tensors])


def _reordered(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)
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
