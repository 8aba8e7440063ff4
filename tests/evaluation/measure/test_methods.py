"""What a method and a variant change of a job's options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evaluation.measure.grid import Cell, Grid, Method, SetOf
from evaluation.measure.methods import options_of
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
