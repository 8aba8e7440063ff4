"""What lies between a layer's products on a CPU, in one pass over memory each: RMSNorm and gated activations (SwiGLU).

torch makes eight operations of a norm and some twelve of its gradient, each with a start-up and a pass of its own
(`make bench-kernels`). Compiled by Numba. What computes otherwise than these know is left as it is. Must not know whose
layers they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.compiled import (
    ANY_ORDER,
    VIEWS,
    array,
    conversions,
    exponential,
    is_usable_product,
    usable,
    worth_compiling,
)

Forward = Callable[[Tensor], Tensor]


def fuse(model: nn.Module) -> int:
    """Have a frozen model's norms and gated projections computed by kernels, where they know how; how many are."""
    count = 0
    for module in model.modules():
        fused = _norm(module) or _gated(module)
        if fused is not None:
            module.forward = fused  # of this module alone
            count += 1
    return count


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, number by number."""
    out: Tensor = _Gated.apply(gate, up)  # type: ignore[no-untyped-call]  # torch's own
    return out


def compile_now(dtype: torch.dtype) -> None:
    """Compile what answering needs for this precision, so that no answer waits for it."""
    if dtype in VIEWS:
        x = torch.zeros(1, 4, dtype=dtype)
        with torch.inference_mode():
            _Norm.apply(x, x[0], 1e-5)  # type: ignore[no-untyped-call]  # torch's own
            gated(x, x)


def _norm(module: nn.Module) -> Forward | None:
    """A forward for an RMSNorm as Llama has it; None for any other module."""
    weight, epsilon = getattr(module, "weight", None), getattr(module, "variance_epsilon", None)
    if not (usable(weight) and isinstance(epsilon, float)):
        return None
    plain: Forward = module.forward

    def forward(hidden_states: Tensor) -> Tensor:
        if not worth_compiling(weight.numel()) or hidden_states.dtype != weight.dtype:
            return plain(hidden_states)
        normed: Tensor = _Norm.apply(hidden_states, weight, epsilon)  # type: ignore[no-untyped-call]  # torch's own
        return normed

    probe = _probe(weight.numel(), weight.dtype)
    wide = probe.float()
    expected = weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)).to(probe.dtype)
    return forward if _alike(plain(probe), expected) else None


def _gated(module: nn.Module) -> Forward | None:
    """A forward for down(silu(gate(x)) * up(x)); None for any other module."""
    gate, up, down = (getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj"))
    if not (is_usable_product(gate) and is_usable_product(up) and is_usable_product(down)):
        return None
    plain: Forward = module.forward

    def forward(x: Tensor) -> Tensor:
        if not worth_compiling(gate.in_features) or x.dtype != gate.weight.dtype:
            return plain(x)
        out: Tensor = down(gated(gate(x), up(x)))
        return out

    probe = _probe(gate.in_features, gate.weight.dtype)
    expected: Tensor = down(nn.functional.silu(gate(probe)) * up(probe))
    return forward if _alike(plain(probe), expected) else None


def _probe(width: int, dtype: torch.dtype) -> Tensor:
    return torch.linspace(-2, 3, 2 * width).view(1, 2, width).to(dtype)


def _alike(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and torch.allclose(found.float(), expected.float(), rtol=2e-2, atol=1e-2)


class _Norm(torch.autograd.Function):
    """weight * x / sqrt(mean(x^2) + epsilon) of each row, the mean in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        x = x.contiguous()
        out, factors = torch.empty_like(x), np.empty(x.numel() // x.shape[-1], np.float32)
        _compiled(x.dtype).norm(_rows(x), array(weight), np.float32(epsilon), _rows(out), factors)
        ctx.save_for_backward(x, weight)
        ctx.factors = factors
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        back = torch.empty_like(x)
        _compiled(x.dtype).norm_back(
            _rows(x), array(weight), ctx.factors, _rows(gradients[0].contiguous()), _rows(back)
        )
        return back, None, None


class _Gated(torch.autograd.Function):
    """silu(gate) * up, number by number."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        gate, up = gate.contiguous(), up.contiguous()
        out = torch.empty_like(gate)
        _compiled(gate.dtype).gated(_flat(gate), _flat(up), _flat(out))
        ctx.save_for_backward(gate, up)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        d_gate, d_up = torch.empty_like(gate), torch.empty_like(up)
        _compiled(gate.dtype).gated_back(
            _flat(gate), _flat(up), _flat(gradients[0].contiguous()), _flat(d_gate), _flat(d_up)
        )
        return d_gate, d_up


def _rows(x: Tensor) -> NDArray[Any]:
    return array(x.view(-1, x.shape[-1]))


def _flat(x: Tensor) -> NDArray[Any]:
    return array(x.view(-1))


class _Kernels(NamedTuple):
    norm: Any
    norm_back: Any
    gated: Any
    gated_back: Any


@lru_cache
def _compiled(dtype: torch.dtype) -> _Kernels:
    """The kernels for this precision. Loaded here: Numba brings LLVM."""
    import numba

    (wide, narrow, _), exp, one = conversions(dtype), exponential(), np.float32(1)
    fast = numba.njit(nogil=True, fastmath=ANY_ORDER, error_model="numpy")

    @fast  # type: ignore[untyped-decorator]  # Numba's
    def norm(x: Any, weight: Any, epsilon: Any, out: Any, factors: Any) -> None:
        rows, count = x.shape
        for row in range(rows):
            squares = np.float32(0)
            for i in range(count):
                squares += wide(x[row, i]) * wide(x[row, i])
            factor = one / np.sqrt(squares / np.float32(count) + epsilon)
            factors[row] = factor
            for i in range(count):
                # Rounded in between, as the model was trained.
                out[row, i] = narrow(wide(narrow(wide(x[row, i]) * factor)) * wide(weight[i]))

    @fast  # type: ignore[untyped-decorator]  # Numba's
    def norm_back(x: Any, weight: Any, factors: Any, gradient: Any, out: Any) -> None:
        rows, count = x.shape
        for row in range(rows):
            product, factor = np.float32(0), factors[row]
            for i in range(count):
                product += wide(gradient[row, i]) * wide(weight[i]) * wide(x[row, i])
            along = product * factor * factor * factor / np.float32(count)
            for i in range(count):
                straight = wide(gradient[row, i]) * wide(weight[i]) * factor
                out[row, i] = narrow(straight - along * wide(x[row, i]))

    @fast  # type: ignore[untyped-decorator]  # Numba's
    def gated(gate: Any, up: Any, out: Any) -> None:
        for i in range(len(gate)):
            g = wide(gate[i])
            out[i] = narrow(wide(narrow(g / (one + exp(-g)))) * wide(up[i]))

    @fast  # type: ignore[untyped-decorator]  # Numba's
    def gated_back(gate: Any, up: Any, gradient: Any, d_gate: Any, d_up: Any) -> None:
        for i in range(len(gate)):
            g, d = wide(gate[i]), wide(gradient[i])
            open_share = one / (one + exp(-g))
            d_up[i] = narrow(d * g * open_share)
            d_gate[i] = narrow(d * wide(up[i]) * open_share * (one + g * (one - open_share)))

    return _Kernels(norm, norm_back, gated, gated_back)
