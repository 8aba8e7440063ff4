"""How far a run is, on the terminal: a bar with the time left, and a line for each cell that ended."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from evaluation.measure.grid import Cell, Method

SEARCHES: frozenset[Method] = frozenset({"milp", "random"})


class Progress:
    """Told how a run goes (a `Listener`). Units are trials: what is no search counts as one.

    Args:
        cells: what is to be measured.
        trials: of one search.
    """

    def __init__(self, cells: Sequence[Cell], trials: int) -> None:
        self._trials = trials
        console = Console(file=sys.stderr)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        # The rate of the last hour: searches of one user are not those of another.
        self._bar = Bar(
            *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, speed_estimate_period=3600
        )
        self._task = self._bar.add_task("", total=sum(map(self._units, cells)))
        self._ended = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begins(self, cell: Cell) -> None:
        self._bar.update(self._task, description=_told(cell))

    def trials(self, done: int) -> None:
        self._bar.update(self._task, completed=self._ended + min(done, self._trials))

    def ends(self, cell: Cell, said: str) -> None:
        self._ended += self._units(cell)
        self._bar.update(self._task, completed=self._ended)
        self._bar.console.print(f"{_told(cell)}: {said}", markup=False, highlight=False, soft_wrap=True)

    def _units(self, cell: Cell) -> int:
        return self._trials if cell.method in SEARCHES else 1


def _told(cell: Cell) -> str:
    parts = (cell.set, cell.user, cell.method, cell.variant, f"seed {cell.seed}")
    return " ".join(part for part in parts if part)
