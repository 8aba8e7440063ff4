"""How far a run is: on a terminal a bar with the time left, elsewhere a line with it for each cell that ended."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from app.settings import Settings
from evaluation.measure.grid import Cell, Grid, Method
from evaluation.measure.methods import options_of

SEARCHES: frozenset[Method] = frozenset({"milp", "random"})
TRAININGS: Mapping[Method, int | None] = {
    "base": 0,
    "dictionary_memory": 0,
    "malp": 0,
    "default_lora": 1,
    "default_averaged": None,
    "milp": None,
    "random": None,
    "milp_memory": None,
    "other_user": None,
    "domain_lora": 1,
}
"""How many trainings to the end answer in a method's name; None: as many as what is published is the average of."""


class Progress:
    """Told how a run goes (a `Listener`). Units are trials, and what takes as long as they do.

    Args:
        cells: what is to be measured.
        console: written to; standard error where none is given.
    """

    def __init__(self, cells: Sequence[Cell], grid: Grid, console: Console | None = None) -> None:
        self._grid, self._settings = grid, Settings(_env_file=None)
        console = console or Console(file=sys.stderr)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        # The rate of the last hour: searches of one user are not those of another.
        self._bar = Bar(
            *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, speed_estimate_period=3600
        )
        self._task = self._bar.add_task("", total=sum(map(self.units, cells)))
        self._ended = self._trials = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begins(self, cell: Cell) -> None:
        self._bar.update(self._task, description=_told(cell))
        self._trials = self._trials_of(cell)

    def trials(self, done: int) -> None:
        self._bar.update(self._task, completed=self._ended + min(done, self._trials))

    def ends(self, cell: Cell, said: str) -> None:
        self._ended += self.units(cell)
        self._bar.update(self._task, completed=self._ended)
        line = f"{_told(cell)}: {said}"
        left = self._bar.tasks[0].time_remaining
        if left and not self._bar.console.is_terminal:
            line += f" ({timedelta(seconds=round(left))} left)"
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def units(self, cell: Cell) -> int:
        """What a cell takes: its trials, what is trained to the end, and one for answering the test part."""
        options = options_of(self._grid, cell).resolve(self._settings)
        trainings = TRAININGS[cell.method]
        to_the_end = options.averaged if trainings is None else trainings
        return self._trials_of(cell) + round(to_the_end * options.epochs / options.trial_passes) + 1

    def _trials_of(self, cell: Cell) -> int:
        return (options_of(self._grid, cell).trials or 0) if cell.method in SEARCHES else 0


def _told(cell: Cell) -> str:
    parts = (cell.set, cell.user, cell.method, cell.variant, f"seed {cell.seed}")
    return " ".join(part for part in parts if part)
