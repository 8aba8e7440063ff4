"""Cross-entropy of many tokens on a CPU without a number of the logits kept: loss and gradient in one pass over each.

torch takes some eight passes over float32 logits, forward and back, which cost more than the head's own products
(`make bench-kernels`). Here the head's product is turned where it lies into the loss's gradient, and that at once into
the hidden states', for the losses of two tokens do not depend on each other (as Liger Kernel does on GPUs, Hsu and
others, 2024). Compiled by Numba. Must not know stacks or batches.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from engine.compiled import ANY_ORDER, array, conversions, exponential, is_usable_product, worth_compiling
from engine.packed_weights import back

MOST_LOGITS = 1 << 24
"""Numbers at a time: some tens of megabytes, that products are long and little memory is taken."""


def takes(head: nn.Module | None, hidden: Tensor) -> TypeGuard[nn.Linear]:
    """Whether the kernel can do it: on a CPU, in a precision it knows, a head that is one frozen product."""
    return is_usable_product(head) and head.weight.dtype == hidden.dtype and worth_compiling(head.in_features)


def cross_entropies(head: nn.Linear, hidden: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Nats of each token (float32): hidden (tokens x hidden), targets (tokens, ids).

    Args:
        smoothing: share of each target that is spread evenly over the vocabulary.
    """
    losses: Tensor = _HeadLoss.apply(hidden, head, targets, smoothing)  # type: ignore[no-untyped-call]  # torch's own
    return losses


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: nn.Linear, targets: Tensor, smoothing: float) -> Tensor:
        losses, wanted = hidden.new_empty(len(hidden), dtype=torch.float32), ctx.needs_input_grad[0]
        slopes, at_once = [], max(1, MOST_LOGITS // head.out_features)
        for start in range(0, len(hidden), at_once):
            part = slice(start, start + at_once)
            logits = head(hidden[part])
            of_part = array(losses[part])
            _compiled(hidden.dtype)(array(logits), targets[part].numpy(), np.float32(smoothing), of_part, wanted)
            if wanted:
                slopes.append(back(head, logits))
        if wanted:
            ctx.save_for_backward(torch.cat(slopes))
        return losses

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        return slopes * gradients[0].unsqueeze(1).to(slopes.dtype), None, None, None


@lru_cache
def _compiled(dtype: torch.dtype) -> Any:
    """The kernel for this precision. Loaded here: Numba brings LLVM."""
    import numba

    (wide, narrow, _), exp = conversions(dtype), exponential()

    @numba.njit(nogil=True, fastmath=ANY_ORDER, error_model="numpy")  # type: ignore[untyped-decorator]  # Numba's
    def one_token(logits: Any, target: Any, smoothing: Any, with_gradient: Any) -> Any:
        count = len(logits)
        largest = np.float32(-3.0e38)
        for i in range(count):
            largest = max(largest, wide(logits[i]))
        total, sum_of_all = np.float32(0), np.float32(0)
        for i in range(count):
            above = wide(logits[i]) - largest
            total += exp(above)
            sum_of_all += above
        log_total, spread = np.log(total), smoothing / np.float32(count)
        rest = np.float32(1) - smoothing
        loss = log_total - rest * (wide(logits[target]) - largest) - spread * sum_of_all
        if with_gradient:
            at_target = exp(wide(logits[target]) - largest) / total - spread - rest
            factor = np.float32(1) / total
            for i in range(count):
                logits[i] = narrow(exp(wide(logits[i]) - largest) * factor - spread)
            logits[target] = narrow(at_target)
        return loss

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]  # Numba's
    def kernel(logits: Any, targets: Any, smoothing: Any, losses: Any, with_gradient: Any) -> None:
        for token in range(len(targets)):
            losses[token] = one_token(logits[token], targets[token], smoothing, with_gradient)

    return kernel
