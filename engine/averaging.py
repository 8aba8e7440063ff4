"""Several stacks of one configuration as one: the average of what they do, at the rank of one of them.

Training from several seeds and averaging the weights keeps what they agree on (Wortsman and others, 2022, "Model
soups"). The A's and B's of unlike seeds live in unlike bases, so the products B A are averaged. Must not know training.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.stack import Stack


def average_stacks(stacks: Sequence[Stack]) -> Stack:
    """The stack whose B A come closest, in the Frobenius norm, to the mean of theirs (Eckart and Young, 1936).

    Computed in float32; the result has the precision and the device of the first. One stack is its own average.

    Args:
        stacks: of one configuration, at least one.

    Raises:
        ValueError: no stack, or not all of one configuration.
    """
    if len({stack.configuration for stack in stacks}) != 1:
        raise ValueError("only stacks of one configuration have an average, and there must be at least one")
    first = stacks[0]
    if len(stacks) == 1:
        return first
    a, b = {}, {}
    for name, like in first.a.items():
        mean_a, mean_b = _closest(
            torch.cat([stack.a[name] for stack in stacks]).float(),
            torch.cat([stack.b[name] for stack in stacks], dim=1).float() / len(stacks),
            first.configuration.total_rank,
        )
        a[name], b[name] = mean_a.to(like.dtype), mean_b.to(like.dtype)
    return Stack(first.configuration, a, b)


def _closest(a: Tensor, b: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """A of `rank` x d_in and B of d_out x `rank` whose product is the best of that rank to b a.

    The product itself, d_out x d_in, is never made: of factors of rank R the work is R^2 (d_in + d_out).
    """
    basis_a, core_a = torch.linalg.qr(a.T)
    basis_b, core_b = torch.linalg.qr(b)
    left, values, right = torch.linalg.svd(core_b @ core_a.T, full_matrices=False)
    # Both halves get the root, so that neither is out of the range of a half precision.
    root = values[:rank].sqrt()
    new_a, new_b = root[:, None] * (right[:rank] @ basis_a.T), (basis_b @ left[:, :rank]) * root
    # A projection narrower than the rank has fewer directions than that.
    missing = rank - len(root)
    return torch.nn.functional.pad(new_a, (0, 0, 0, missing)), torch.nn.functional.pad(new_b, (0, missing))
