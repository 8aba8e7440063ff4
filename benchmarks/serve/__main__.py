"""`python -m benchmarks.serve`: every row about answers. QUICK=1: the headline, cold stacks, who comes again, the API.

BASE= names another base than the small one. Each part is a module of its own beside this one.
"""

from __future__ import annotations

import gc

from benchmarks.material import MIXES, history, service_base
from benchmarks.results_file import Row
from benchmarks.rounds import quick, report
from benchmarks.serve import ours, users
from benchmarks.serve.api import api_rows
from benchmarks.serve.prefixes import prefix_rows
from benchmarks.serve.stored import cold_rows, crowd_rows
from benchmarks.serve.users import HEADLINE, Cell

USERS = (1, 8, 64)
MANY = 1000


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


def main() -> None:
    base = ours.endless_base(service_base())
    threads = ours.threads()
    queries = [sample.query for sample in (*history().split.validation, *history().split.test)]
    rows: list[Row] = []
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
