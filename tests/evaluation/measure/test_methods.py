"""What a method and a variant change of a job's options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evaluation.measure.grid import Cell, Grid, Method, SetOf
from evaluation.measure.methods import how_made, options_of
from evaluation.names import SPACES

GRID = Grid(sets=[SetOf(name="s", paths=[Path("p")])], bases=["b"], trials=24, options={"epochs": 2})


def changed(method: Method, variant: str = "") -> dict[str, Any]:
    options = options_of(GRID, Cell("s", "b", "u", method, 5, variant))
    return options.model_dump(exclude_unset=True)


STANDARD = {"preset": "standard", "trials": 24, "epochs": 2, "seed": 5}


@pytest.mark.parametrize(
    ("method", "variant", "difference"),
    [
        ("milp", "", {}),
        ("random", "", {"surrogate": "random"}),
        ("milp_memory", "", {}),
        *(("milp", f"space={space}", {"subspace": space.split("+")}) for space in SPACES),
        ("milp", "trials=8", {"trials": 8}),
        ("milp", "epochs=1", {"epochs": 1}),
        ("milp", "learning_rate=0.0005", {"learning_rate": 0.0005}),
        ("milp", "history=0.1", {}),
    ],
)
def test_a_job_has_the_grids_options_but_for_what_its_method_and_variant_say(
    method: Method, variant: str, difference: dict[str, Any]
) -> None:
    assert changed(method, variant) == STANDARD | difference


@pytest.mark.parametrize(
    ("setting", "of_base", "of_milp"),
    [
        ("MEMORY_PAIRS", True, True),
        ("MAX_NEW_TOKENS", True, True),
        ("LEARNING_RATE", False, True),
        ("HOST", False, False),
    ],
)
def test_rows_tell_by_a_digest_how_they_were_trained_and_asked(
    monkeypatch: pytest.MonkeyPatch, setting: str, of_base: bool, of_milp: bool
) -> None:
    cells = [Cell("s", "b", "u", method, 0) for method in ("base", "milp")]
    before = [how_made(GRID, cell) for cell in cells]
    monkeypatch.setenv(f"MILP_{setting}", {"LEARNING_RATE": "0.001", "HOST": "::1"}.get(setting, "5"))
    changed = [was != how_made(GRID, cell) for was, cell in zip(before, cells, strict=True)]
    assert changed == [of_base, of_milp]
