"""A finished job's outcome for the terminal: scores per method on the test split, and the gate's decision in words.

Reads the job's report as the API gives it; must not know where it came from.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from app.cli.outcome import METRICS, Outcome

Json = dict[str, Any]
_PIPE_WIDTH = 132
_ONE_LINE_WIDTH = 120
"""Below that, an interval stands under its mean."""


def console_for_tables() -> Console:
    """A console as wide as the terminal; a file or pipe has no width to wrap to and gets one that tables fit in."""
    console = Console()
    return console if console.is_terminal else Console(width=_PIPE_WIDTH)


def outcome_tables(user_id: str, job: Json, width: int) -> list[RenderableType]:
    """What a finished job found, ready to print on a console of this width: table, then a few lines."""
    outcome = Outcome.of(job)
    table = Table(
        title=f"{user_id}: {outcome.test_size} test samples, mean [95 % bootstrap interval]", title_justify="left"
    )
    table.add_column("Method")
    for metric in METRICS:
        table.add_column(metric.title, justify="right", no_wrap=True)
    between = " " if width >= _ONE_LINE_WIDTH else "\n"
    for row in outcome.rows:
        cells = [
            Text("{0.mean:.{2}f}{1}[{0.low:.{2}f}, {0.high:.{2}f}]".format(interval, between, metric.digits))
            for metric, interval in zip(METRICS, row.scores, strict=True)
        ]
        for cell, best in zip(cells, row.best, strict=True):
            cell.stylize("bold green" if best else "")
        table.add_row(Text(row.label, style="bold" if row.method == "personalized" else ""), *cells)
    lines = [f"Winner: {outcome.winner_in_words}", f"Gate: {outcome.gate_in_words}"]
    return [table, *(Text(line) for line in lines), Text("")]
