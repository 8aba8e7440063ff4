"""Decoded rows that each go through a stack of their own: a table of where each row's matrices lie, kept as rows come
and go, and one kernel call for all rows at each projection.

On a CPU that is engine.row_kernel. Must not know prompts, caches or threads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from engine.projections import Projection
from engine.row_kernel import FIELDS, RANK, add_rows, entry, fits
from engine.stack import Stack

_FIRST_ROWS = 16


class RowRoute:
    """Which stack each row goes through; None is the base.

    Rows of one stack at a time is what it is for: many rows of the same are faster as engine.grouped's segments.
    """

    def __init__(self, projections: Sequence[Projection]) -> None:
        self._index = {projection.name: i for i, projection in enumerate(projections)}
        self._table = np.zeros((_FIRST_ROWS, len(projections), FIELDS), dtype=np.int64)
        self._rows = 0
        self._touched: list[bool] | None = None

    def join(self, stack: Stack | None) -> None:
        """A row behind those there are."""
        self._touched = None
        if self._rows == len(self._table):
            self._table = np.concatenate([self._table, np.zeros_like(self._table)])
        row = self._table[self._rows]
        row[:] = 0
        if stack is not None:
            for name, a in stack.a.items():
                row[self._index[name]] = entry(a, stack.b[name])
        self._rows += 1

    def leave(self, row: int) -> None:
        """The last row takes this one's place."""
        self._touched = None
        self._rows -= 1
        self._table[row] = self._table[self._rows]

    def touches(self, name: str) -> bool:
        if self._touched is None:
            ranks = self._table[: self._rows, :, RANK].max(axis=0, initial=0)
            self._touched = [bool(rank) for rank in ranks]
        return self._touched[self._index[name]]

    def add(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        add_rows(x, y, self._table, self._index[name])
        return y


def takes(stack: Stack | None) -> bool:
    """Whether the kernel can read this stack."""
    return stack is None or all(fits(a, stack.b[name]) for name, a in stack.a.items())
