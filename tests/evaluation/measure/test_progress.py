"""How far a run is: what counts how much, and the time left where there is no terminal to draw a bar on."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from evaluation.measure.grid import METHODS, Cell, Grid, Method, SetOf
from evaluation.measure.progress import TRAININGS, Progress

GRID = Grid(sets=[SetOf(name="s", paths=[Path("p")])], bases=["b"], trials=24)


def cell(method: Method, variant: str = "") -> Cell:
    return Cell("s", "b", "ada", method, 0, variant)


def test_every_method_has_its_weight() -> None:
    assert set(TRAININGS) == set(METHODS)


@pytest.mark.parametrize(
    ("of", "units"),
    [
        # Published is the average of two trainings here (conftest), each of twice a trial's passes.
        (cell("base"), 1),
        (cell("default_lora"), 3),
        (cell("default_averaged"), 5),
        (cell("milp"), 29),
        (cell("random"), 29),
        (cell("milp", "trials=8"), 13),
        (cell("milp", "epochs=2"), 27),
    ],
)
def test_a_cell_counts_as_its_trials_and_what_is_trained_to_the_end(of: Cell, units: int) -> None:
    assert Progress([], GRID).units(of) == units


def test_without_a_terminal_each_line_says_the_time_left() -> None:
    file = io.StringIO()
    cells = [cell("milp"), cell("default_lora"), cell("base")]
    with Progress(cells, GRID, Console(file=file, width=80)) as progress:
        for of in cells:
            progress.begins(of)
            for done in (8, 24, 99):
                time.sleep(0.01)
                progress.trials(done)
            progress.ends(of, "ROUGE-L 1.0")
    lines = [line for line in file.getvalue().splitlines() if "ROUGE-L" in line]
    assert [line.split(":")[0] for line in lines] == [f"s ada {of.method} seed 0" for of in cells]
    assert lines[0].endswith("left)")
    # After the last there is none left to say.
    assert lines[-1].endswith("ROUGE-L 1.0")


def test_on_a_terminal_the_bar_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    file = io.StringIO()
    with Progress([cell("base")], GRID, Console(file=file, width=80, force_terminal=True)) as progress:
        progress.begins(cell("base"))
        progress.ends(cell("base"), "ROUGE-L 1.0")
    assert "1/1" in file.getvalue()
    assert " left)" not in file.getvalue()
    assert capsys.readouterr().out == ""
