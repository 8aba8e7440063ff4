"""Sequences laid end to end in one row: where each lies, and which are multiplied together. Must not know attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MOST_WASTE = 1.6
"""How many times the arithmetic that a group's sequences need it may cost to multiply them as if all were as long as
the longest. Attention is a small part of all arithmetic, and each product has its own start-up."""


@dataclass(frozen=True, slots=True)
class Group:
    """Sequences of like length, multiplied together.

    Args:
        count, width: how many, and tokens of the longest.
        gather: count * width places in the packed row, any place where a sequence has ended.
        real: which of these are no padding.
        places: the places in the packed row that those stand for.
        known: as `gather`, but -1 where a sequence has ended.
    """

    count: int
    width: int
    gather: Tensor
    real: Tensor
    places: Tensor
    known: Tensor

    def taken(self, packed: Tensor) -> Tensor:
        """Heads x tokens x dim -> heads x sequences x width x dim."""
        return packed.index_select(1, self.gather).view(packed.shape[0], self.count, self.width, -1)

    def put(self, grouped: Tensor, packed: Tensor) -> None:
        """The inverse, into `packed`; padding is dropped."""
        flat = grouped.reshape(grouped.shape[0], self.count * self.width, -1)
        packed.index_copy_(1, self.places, flat.index_select(1, self.real))


def groups_of(lengths: Sequence[int], device: torch.device) -> list[Group]:
    """The sequences, those of like length together."""
    spans = sorted(spans_of(lengths), key=lambda span: span[1] - span[0])
    groups: list[list[tuple[int, int]]] = [[]]
    needed = 0
    for start, stop in spans:
        square = (stop - start) ** 2
        needed += square
        if groups[-1] and (len(groups[-1]) + 1) * square > MOST_WASTE * needed:
            groups.append([])
            needed = square
        groups[-1].append((start, stop))
    return [group_of(members, device) for members in groups]


def group_of(members: Sequence[tuple[int, int]], device: torch.device) -> Group:
    """The sequences that lie from start to stop each, together."""
    width = max(stop - start for start, stop in members)
    starts = torch.tensor([start for start, _ in members])[:, None]
    sizes = torch.tensor([stop - start for start, stop in members])[:, None]
    column = torch.arange(width)
    gather = (starts + torch.minimum(column, sizes - 1)).flatten()
    known = torch.where((column < sizes).flatten(), gather, -1)
    real = (known >= 0).nonzero()[:, 0]
    return Group(len(members), width, *(t.to(device) for t in (gather, real, gather[real], known)))


def spans_of(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where each sequence starts and stops."""
    start = 0
    for length in lengths:
        yield start, start + length
        start += length
