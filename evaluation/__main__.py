"""`python -m evaluation`, which `milp evaluate` and `make evaluate` run: measure a grid, then write its report.

Without arguments the users of examples/ on the small base; --data evaluates a file of histories in their place.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

# Threads that spin while they wait would slow the others; read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import typer

from adapters_store.errors import StoreError
from app.cli.errors import CliError
from app.errors import ServiceError
from engine.errors import EngineError
from evaluation.measure.claim import RunError
from evaluation.measure.grid import Grid, GridError, SetOf, checked_grid, read_grid
from evaluation.measure.people import ASKS, Side, names_in
from evaluation.measure.progress import Progress
from evaluation.measure.run import Run
from evaluation.results_files import file_name, read_all, read_searches

GRIDS = Path(__file__).parent / "measure" / "grids"
FIRST_USERS = 10
"""Of each file, where neither --full nor a grid says how many: a cut by a fixed rule, not by result."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def evaluate(
    grid: Annotated[
        Path | None, typer.Argument(help="A grid's TOML file. Default: examples/ on the small base.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; one that was begun is gone on with.")] = Path(
        "milp-evaluation"
    ),
    data: Annotated[
        list[Path] | None, typer.Option("--data", help="Histories, one JSON object per user and line; may be repeated.")
    ] = None,
    wrote: Annotated[
        Side, typer.Option("--wrote", help="The side of a pair that those of --data wrote: MaLP's facts are of it.")
    ] = ASKS,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="A user to leave out; may be repeated.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="All users, three seeds, ablation and sensitivity.")] = False,
    users: Annotated[int | None, typer.Option("--users", min=1, help="Only the first so many of each file.")] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="So many seeds, from 0.")] = None,
    trials: Annotated[int | None, typer.Option("--trials", min=2, max=1000, help="Of each search.")] = None,
    methods: Annotated[list[str] | None, typer.Option("--method", help="Only this method; may be repeated.")] = None,
    base: Annotated[
        list[str] | None, typer.Option("--base", help="Folder or Hugging Face name; may be repeated.")
    ] = None,
    known: Annotated[
        Path | None, typer.Option("--known", help="Folder of results files: what stands there is not measured again.")
    ] = None,
    keep_texts: Annotated[bool, typer.Option("--keep-texts", help="Write answers down too, for a judge.")] = False,
) -> None:
    """Measure which method serves each user best, and write tables, plots and a report."""
    from app.logging import configure_logging
    from evaluation.report.writing import write_report

    configure_logging("warning")
    try:
        if grid is not None and full:
            raise GridError(f"{grid} says itself what is measured: leave --full out.")
        if wrote != ASKS and not data:
            raise GridError(
                "--wrote is for the files of --data; in a grid each set says for itself what its people wrote."
            )
        again = grid if grid is not None and grid.suffix == ".json" else None
        if again is not None and (data or users or exclude or trials or base):
            raise GridError(
                f"{again} makes a run again, on the same people and bases with the same trials: leave --data, --users, "
                "--exclude, --trials and --base out, or write another grid."
            )
        chosen = read_grid(grid or GRIDS / _named(bool(data), full))
        if known is not None and (keep_texts or chosen.keep_texts):
            raise GridError(
                "what --known takes over has no texts to keep: leave it out, or name a folder without texts."
            )
        sets = _sets(data, wrote, chosen, None if full or grid is not None else FIRST_USERS, users)
        changes = {
            "sets": _without(exclude, sets) if exclude else sets,
            "seeds": list(range(seeds)) if seeds else chosen.seeds,
            "trials": trials or chosen.trials,
            "methods": methods or chosen.methods,
            "bases": base or chosen.bases,
            "keep_texts": keep_texts or chosen.keep_texts,
        }
        chosen = checked_grid({**chosen.model_dump(), **changes})
        with Run(chosen, out, lambda said: typer.echo(said, err=True), again) as run:
            if known is not None:
                taken = run.adopt(read_all(known), read_searches(known))
                commits = ", ".join(sorted({row.commit for row in taken}))
                typer.echo(f"{len(taken)} rows were measured before{f' (at {commits})' if commits else ''}", err=True)
            with Progress(run.todo(), chosen) as progress:
                problems = run.measure(progress)
    except (CliError, EngineError, GridError, RunError, ServiceError, StoreError, ValueError) as error:
        typer.echo(f"milp: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo(f"stopped; the same command goes on, `python -m evaluation.report {out}` reports so far", err=True)
        raise typer.Exit(130) from None
    for problem in problems:
        typer.echo(f"not measured: {problem}", err=True)
    try:
        write_report(out)
    except ValueError as error:
        typer.echo(f"milp: measured, but not reported: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{out / 'report.html'}, {out / 'report.md'}")
    if problems:
        raise typer.Exit(1)


def _named(with_data: bool, full: bool) -> str:
    """The grid's file where none is given."""
    if full:
        return "full.toml"
    return "cut.toml" if with_data else "examples.toml"


def _sets(data: list[Path] | None, wrote: Side, grid: Grid, first: int | None, users: int | None) -> list[SetOf]:
    named = [SetOf(name=file_name(path.stem), paths=[path], first=first, wrote=wrote) for path in data or ()]
    return [of.model_copy(update={"first": users or of.first}) for of in named or grid.sets]


def _without(users: list[str], sets: list[SetOf]) -> list[SetOf]:
    """The sets without these users, each of whom is in one of them at least."""
    there = [names_in(of.paths) for of in sets]
    if unknown := sorted(set(users) - set().union(*there)):
        raise GridError(f"{unknown[0]!r} is to be left out, but no set has such a user.")
    return [
        of.model_copy(update={"exclude": [*of.exclude, *(user for user in users if user in names)]})
        for of, names in zip(sets, there, strict=True)
    ]


if __name__ == "__main__":
    app()
