"""Rows of many users, each through a stack of their own: a table of where each one's matrices lie, and a kernel call
for all at each projection. Of decoded rows the table is kept as they come and go; of prompts it is made anew.

The kernel is engine.row_kernel's on a CPU and engine.row_kernel_gpu's on a GPU. Must not know prompts, caches or
threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from engine import row_kernel, row_kernel_gpu
from engine.grouped import Route
from engine.projections import Projection
from engine.row_kernel import FIELDS, RANK, entry, fits
from engine.stack import Stack

_FIRST_ROWS = 16


def has_kernel(device: torch.device) -> bool:
    """Whether rows can be taken one by one there."""
    return device.type == "cpu" or (device.type == "cuda" and find_spec("triton") is not None)


class RowRoute:
    """Which stack each row goes through; None is the base.

    Rows of one stack at a time is what it is for: many rows of the same are faster as engine.grouped's segments.

    Args:
        device: where the rows are decoded; it has a kernel (`has_kernel`).

    Attributes:
        moves: how many times the table was put elsewhere on the device, for it had no room left.
    """

    def __init__(self, projections: Sequence[Projection], device: torch.device) -> None:
        self._index = {projection.name: i for i, projection in enumerate(projections)}
        self._table = np.zeros((_FIRST_ROWS, len(projections), FIELDS), dtype=np.int64)
        self._rows = 0
        self._device = device
        self._by_gpu = device.type == "cuda"
        self._on_device: Tensor | None = None
        self._stale = True
        self._largest: list[int] | None = None
        self.moves = 0

    def join(self, stack: Stack | None) -> None:
        """A row behind those there are."""
        self.make_room(self._rows + 1)
        row = self._table[self._rows]
        row[:] = 0
        if stack is not None:
            for name, a in stack.a.items():
                row[self._index[name]] = entry(a, stack.b[name])
        self._rows += 1
        self._changed()

    def leave(self, row: int) -> None:
        """The last row takes this one's place."""
        self._rows -= 1
        self._table[row] = self._table[self._rows]
        self._table[self._rows] = 0
        self._changed()

    def make_room(self, rows: int) -> None:
        """Have a table of at least so many rows; those that are not there go through the base."""
        while rows > len(self._table):
            self._table = np.concatenate([self._table, np.zeros_like(self._table)])
            self._stale = True

    def refresh(self) -> Tensor:
        """The table on the device, with what has changed since: where it was, as long as it has room there."""
        table = self._on_device
        if table is None or len(table) < len(self._table):
            table = self._on_device = torch.from_numpy(self._table.copy()).to(self._device)
            self.moves += 1
        elif self._stale:
            table.copy_(torch.from_numpy(self._table))
        self._stale = False
        return table

    def fixed(self, largest_rank: int) -> FixedRows:
        """The rows as the table on the device has them, for steps that are recorded (until `moves` rises)."""
        return FixedRows(self.refresh(), self._index, largest_rank)

    @property
    def largest_rank(self) -> int:
        """Of any row at any projection."""
        return max(self._largest_ranks(), default=0)

    def touches(self, name: str) -> bool:
        return self._largest_ranks()[self._index[name]] > 0

    def add(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        projection = self._index[name]
        if not self._by_gpu:
            row_kernel.add_rows(x, y, self._table, projection)
            return y
        row_kernel_gpu.add_rows(x, y, self.refresh(), projection, self._largest_ranks()[projection])
        return y

    def _largest_ranks(self) -> list[int]:
        """The largest rank of any row at each projection."""
        if self._largest is None:
            self._largest = [int(rank) for rank in self._table[: self._rows, :, RANK].max(axis=0, initial=0)]
        return self._largest

    def _changed(self) -> None:
        self._largest, self._stale = None, True


@dataclass(frozen=True)
class FixedRows:
    """Rows whose stacks stand in a table that others write: each product reads it anew.

    Args:
        index: of each projection in the table.
        largest_rank: that any row may have at any projection.
    """

    table: Tensor
    index: Mapping[str, int]
    largest_rank: int

    def touches(self, name: str) -> bool:  # noqa: ARG002 - any projection may come to have a stack
        return self.largest_rank > 0

    def add(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        row_kernel_gpu.add_rows(x, y, self.table, self.index[name], self.largest_rank)
        return y


SHORT = 1600
"""Rows times rank up to which the kernel is no slower than two products (`make bench-kernels`)."""


class Stretches:
    """Stretches of rows that go through one stack each, on a CPU: short ones by the kernel, long ones by products.

    Args:
        groups: number of rows and stack of each, in the batch's order; None is the base.
    """

    def __init__(self, projections: Sequence[Projection], groups: Sequence[tuple[int, Stack | None]]) -> None:
        self._index = {projection.name: i for i, projection in enumerate(projections)}
        self._table = np.zeros((len(groups), len(projections), FIELDS), dtype=np.int64)
        self._ends = np.array([rows for rows, _ in groups], dtype=np.int64).cumsum()
        self._short: set[str] = set()
        products = []
        for entries, (rows, stack) in zip(self._table, groups, strict=True):
            if stack is None or not takes(stack) or rows * stack.configuration.total_rank > SHORT:
                products.append((rows, stack.a, stack.b) if stack is not None else (rows, {}, {}))
                continue
            products.append((rows, {}, {}))
            self._short |= stack.a.keys()
            for name, a in stack.a.items():
                entries[self._index[name]] = entry(a, stack.b[name])
        self._long = Route.of(products)

    def touches(self, name: str) -> bool:
        return name in self._short or self._long.touches(name)

    def add(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        if name in self._short:
            row_kernel.add_rows(x, y, self._table, self._index[name], self._ends)
        return self._long.add(name, x, y) if self._long.touches(name) else y


def takes(stack: Stack | None) -> bool:
    """Whether the kernel can read this stack."""
    return stack is None or all(fits(a, stack.b[name]) for name, a in stack.a.items())
