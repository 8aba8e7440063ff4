"""Rotary positions (RoPE, Su and others, 2021) of one head, as kernels of a CPU call it. Must not know what attends."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch

from engine.compiled import ANY_ORDER, conversions


class Rotation(NamedTuple):
    """Compiled functions of (numbers, cosines, sines, out), `dim` long each; `out` may be `numbers`.

    Args:
        there: x cos + rotate_half(x) sin.
        back: the gradient of x, of that of the rotated.
    """

    there: Any
    back: Any


@lru_cache
def rotation(dtype: torch.dtype) -> Rotation:
    """For this precision; sums in float32. `back` takes float32 numbers. Loaded here: Numba brings LLVM."""
    import numba

    wide, narrow, _ = conversions(dtype)
    fast = numba.njit(nogil=True, fastmath=ANY_ORDER, error_model="numpy")

    @fast  # type: ignore[untyped-decorator]  # Numba's
    def there(x: Any, cos: Any, sin: Any, out: Any) -> None:
        half = len(cos) // 2
        high, cos_high, sin_high, out_high = x[half:], cos[half:], sin[half:], out[half:]
        for i in range(half):
            a, b = wide(x[i]), wide(high[i])
            out[i] = narrow(a * wide(cos[i]) - b * wide(sin[i]))
            out_high[i] = narrow(b * wide(cos_high[i]) + a * wide(sin_high[i]))

    @fast  # type: ignore[untyped-decorator]  # Numba's
    def back(x: Any, cos: Any, sin: Any, out: Any) -> None:
        half = len(cos) // 2
        high, cos_high, sin_high, out_high = x[half:], cos[half:], sin[half:], out[half:]
        for i in range(half):
            a, b = x[i], high[i]
            out[i] = narrow(a * wide(cos[i]) + b * wide(sin_high[i]))
            out_high[i] = narrow(b * wide(cos_high[i]) - a * wide(sin[i]))

    return Rotation(there, back)
