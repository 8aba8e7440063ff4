"""What kernels compiled by Numba for a CPU share: what they can read, numbers as float32 and back, an exponential.

LLVM makes vectors of all of it, which it cannot of the C library's exponential. Must not know what is computed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

VIEWS = {torch.bfloat16: torch.uint16, torch.float32: torch.float32}
"""Precisions kernels read, and what NumPy has for each."""

LEAST_WIDTH = 128
"""Of a model whose steps are worth the two or three seconds that compiling takes each process. By the model, not by
what there is to compute: a candidate shall end the same alone and in company."""
ANY_ORDER = {"reassoc", "contract", "arcp", "afn", "nsz"}
"""For `fastmath`: sums may be taken in any order, but what overflows stays infinite or NaN, by which it is noticed."""


def worth_compiling(width: int) -> bool:
    """Whether steps of a model so wide, in training and answering, are worth kernels of their own."""
    return width >= LEAST_WIDTH


def usable(weight: object) -> TypeGuard[Tensor]:
    """Whether kernels can read it: a frozen tensor on a CPU, in a precision they know."""
    return (
        isinstance(weight, Tensor)
        and weight.device.type == "cpu"
        and weight.dtype in VIEWS
        and not weight.requires_grad
    )


def is_usable_product(module: object) -> TypeGuard[nn.Linear]:
    """Whether it is one product, with a weight that kernels can read."""
    return type(module) is nn.Linear and usable(module.weight)


def array(tensor: Tensor) -> NDArray[Any]:
    """The tensor's own memory, which must lie in one piece, as kernels read it."""
    return tensor.detach().view(VIEWS[tensor.dtype]).numpy()


@lru_cache
def conversions(dtype: torch.dtype) -> tuple[Any, Any, Any]:
    """A stored number as float32, a float32 as a stored number, and an address as a pointer to stored numbers."""
    import numba
    from llvmlite import ir
    from numba.core import types
    from numba.extending import intrinsic

    word = ir.IntType(32)

    @intrinsic  # type: ignore[untyped-decorator]  # Numba's
    def upper_half(_context: Any, _bits: Any) -> Any:
        """bfloat16 is the upper half of a float32."""

        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            bits = builder.shl(builder.zext(arguments[0], word), ir.Constant(word, 16))
            return builder.bitcast(bits, ir.FloatType())

        return types.float32(types.uint16), generate

    @intrinsic  # type: ignore[untyped-decorator]  # Numba's
    def rounded(_context: Any, _number: Any) -> Any:
        """To nearest, ties to even."""

        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            bits = builder.bitcast(arguments[0], word)
            odd = builder.and_(builder.lshr(bits, ir.Constant(word, 16)), ir.Constant(word, 1))
            up = builder.add(builder.add(bits, ir.Constant(word, 0x7FFF)), odd)
            return builder.trunc(builder.lshr(up, ir.Constant(word, 16)), ir.IntType(16))

        return types.uint16(types.float32), generate

    @intrinsic  # type: ignore[untyped-decorator]  # Numba's
    def pointer(_context: Any, _address: Any, like: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        numbers: Any = types
        return numbers.CPointer(like.dtype)(types.int64, like), generate

    if dtype == torch.bfloat16:
        return upper_half, rounded, pointer
    same = numba.njit(lambda number: number)
    return same, same, pointer


@lru_cache
def exponential() -> Any:
    """e to the power of a float32, to float32's precision but for its last bits; 0 below -87, infinity never.

    2^n times a polynomial of what is left (Cephes' expf); the C library's would keep loops from being vectors.
    """
    import numba
    from llvmlite import ir
    from numba.core import types
    from numba.extending import intrinsic

    @intrinsic  # type: ignore[untyped-decorator]  # Numba's
    def power_of_two(_context: Any, _exponent: Any) -> Any:
        """Of a whole float32 between -126 and 127: its exponent bits."""

        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            word = ir.IntType(32)
            biased = builder.add(builder.fptosi(arguments[0], word), ir.Constant(word, 127))
            return builder.bitcast(builder.shl(biased, ir.Constant(word, 23)), ir.FloatType())

        return types.float32(types.float32), generate

    one, half = np.float32(1), np.float32(0.5)
    per_two, high, low = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
    terms = [
        np.float32(term)
        for term in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1)
    ]
    c5, c4, c3, c2, c1 = terms
    least, most = np.float32(-87), np.float32(88)

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]  # Numba's
    def exp(number: Any) -> Any:
        x = min(max(number, least), most)
        n = np.float32(np.floor(x * per_two + half))
        rest = x - n * high - n * low
        power = ((((c5 * rest + c4) * rest + c3) * rest + c2) * rest + c1) * rest + half
        return (power * rest * rest + rest + one) * power_of_two(n)

    return exp
