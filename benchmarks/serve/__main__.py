"""`python -m benchmarks.serve`: every row about answers. QUICK=1: the headline, cold stacks, who comes again, the API.

BASE= names another base than the small one. On a CUDA machine random models of larger shapes come first. Each part is a
module of its own beside this one.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.material import MIXES, history, service_base
from benchmarks.results_file import Row
from benchmarks.rounds import quick, report
from benchmarks.serve import ours, steps, users
from benchmarks.serve.api import api_rows
from benchmarks.serve.prefixes import prefix_rows
from benchmarks.serve.stored import cold_rows, crowd_rows
from benchmarks.serve.users import HEADLINE, Cell
from benchmarks.shapes import SHAPES, saved_base

USERS = (1, 8, 64)
MANY = 1000
PEFT_TARGET = 100.0
"""How many times PEFT's tokens per second the engine's shall be on a GPU, 64 users at once."""


def cells() -> list[Cell]:
    """The headline first; then the rest, where there is time."""
    if quick():
        return [Cell(*HEADLINE, repeats=3), Cell("searched", HEADLINE[1], repeats=2)]
    rest = [Cell(mix, count, repeats=3) for count in USERS for mix in MIXES]
    return [
        Cell(*HEADLINE, repeats=7),
        Cell("searched", HEADLINE[1], repeats=5),
        *rest,
        *(Cell(mix, MANY, repeats=2) for mix in MIXES),
    ]


def shape_rows(queries: Sequence[str], threads: int) -> list[Row]:
    """A decoding step on every shape, and on the smallest what PEFT makes of so many users."""
    rows: list[Row] = []
    repeats = 2 if quick() else 5
    for shape in SHAPES:
        rows += steps.measure(shape, queries, threads, repeats=repeats)
        gc.collect()  # hooks and modules hold each other
        torch.cuda.empty_cache()
        print(f"measured: {shape.name}", flush=True)
    with tempfile.TemporaryDirectory(prefix="milp-bench-") as folder:
        base = ours.endless_base(saved_base(SHAPES[0], Path(folder)))
        cell = Cell("default LoRA", steps.ROWS, repeats=repeats)
        of_cell = users.measure(base, cell, queries, threads, {users.PEFT_BATCH: PEFT_TARGET})
        rows += [replace(row, what=f"{SHAPES[0].name}, random weights, {row.what}") for row in of_cell]
    return rows


def main() -> None:
    base = ours.endless_base(service_base())
    threads = ours.threads()
    queries = [sample.query for sample in (*history().split.validation, *history().split.test)]
    rows: list[Row] = shape_rows(queries, threads) if base.device.type == "cuda" else []
    for cell in cells():
        rows += users.measure(base, cell, queries, threads)
        gc.collect()  # the peers' models hold themselves
        print(f"measured: {cell.name}", flush=True)
    rows += cold_rows(base, queries, threads, repeats=3 if quick() else 10)
    print("measured: cold stacks", flush=True)
    rows += prefix_rows(base, history(), threads, repeats=3 if quick() else 10)
    print("measured: users who come again", flush=True)
    if not quick():
        rows += crowd_rows(base, queries, threads, repeats=3)
        print("measured: more users than places", flush=True)
    rows += api_rows(base, queries, seconds=5.0 if quick() else 20.0, repeats=3)
    report("serve", rows, threads=threads, dtype=str(base.dtype).removeprefix("torch."))


if __name__ == "__main__":
    main()
