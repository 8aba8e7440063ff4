"""Small grids for the tests of runs, and a listener that counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evaluation.measure.grid import Cell, Grid, SetOf
from evaluation.measure.run import Run
from evaluation.rows import Row, read
from tests.evaluation.measure.people_files import write_people
from tests.support.families import save_tiny_model


class Silent:
    """A listener that only counts."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def begins(self, cell: Cell) -> None: ...

    def trials(self, done: int) -> None: ...

    def ends(self, cell: Cell, said: str) -> None:  # noqa: ARG002 - a Listener
        self.ended.append(f"{cell.user} {cell.method}")


def grid_of(tmp_path: Path, family: str, **changes: Any) -> Grid:
    people = write_people(tmp_path / "people.jsonl", *changes.pop("people", ["ada", "bob"]))
    base = tmp_path / "tiny"
    if not base.exists():
        save_tiny_model(family, base)
    options = {"max_seconds": None, "epochs": 2, **changes.pop("options", {})}
    values = {"sets": [SetOf(name="people", paths=[people])], "bases": [str(base)], "trials": 3, "options": options}
    return Grid.model_validate(values | changes)


def measure(grid: Grid, folder: Path) -> list[str]:
    listener = Silent()
    with Run(grid, folder) as run:
        assert run.measure(listener) == []
    return listener.ended


def by_cell(folder: Path) -> dict[tuple[str, str], Row]:
    return {(row.user, row.method): row for row in read(folder, Row)}


def few_trainings(patch: pytest.MonkeyPatch) -> None:
    """Have searches publish the average of two trainings."""
    patch.setenv("MILP_AVERAGED", "2")
