"""Everything that is made of a run's folder: report.html, report.md, the plots, and results.json.

`python -m evaluation.report FOLDER` writes them, at any time: of a run that is not done, what there is. The HTML needs
no network and no other file. Must not know how anything was measured.
"""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from evaluation.judge.judgements import Judgement, read_judgements
from evaluation.judge.labels import Agreement, agreement, read_labels
from evaluation.report.summary import Passage, summarise
from evaluation.results_files import file_name, latest, write_file
from evaluation.rows import Row, SearchRecord, read
from evaluation.statistics import groups
from evaluation.tables.documents import all_tables, markdown
from evaluation.tables.markdown import Table, escaped

if TYPE_CHECKING:
    from evaluation.report.plots import Plot

HTML, MARKDOWN, RESULTS, PLOTS = "report.html", "report.md", "results.json", "plots"
_TITLE = "What personalising buys"


@dataclass(frozen=True, slots=True)
class _Run:
    rows: list[Row]
    searches: list[SearchRecord]
    judgements: list[Judgement]
    agreements: list[Agreement]


def write_report(folder: Path) -> None:
    """Write the report of a run into its folder.

    Raises:
        ValueError: the labelling sheet was filled in with something that is no label.
    """
    run = _read(folder)
    passages = summarise(run.rows, run.judgements, run.agreements)
    tables = all_tables(run.rows, run.judgements, run.agreements)
    plots = _plots(run)
    write_file(folder / RESULTS, run.rows)
    names = _write_plots(folder, plots)
    (folder / MARKDOWN).write_text(_markdown(passages, tables, plots, names), encoding="utf-8")
    (folder / HTML).write_text(_html(passages, tables, plots, run.rows), encoding="utf-8")


def _read(folder: Path) -> _Run:
    judgements = read_judgements(folder)
    agreements = agreement(read_labels(folder), judgements) if judgements else []
    return _Run(latest(read(folder, Row)), latest(read(folder, SearchRecord)), judgements, agreements)


def _plots(run: _Run) -> list[Plot]:
    from evaluation.report.plots import all_plots

    return [plot for group in groups(run.rows) for plot in all_plots(group, run.searches)]


def _write_plots(folder: Path, plots: Sequence[Plot]) -> list[str]:
    """Write each picture; returns their names, numbered because sets and bases are named from outside."""
    (folder / PLOTS).mkdir(exist_ok=True)
    names = [f"{number:02}-{file_name(plot.name)}.png" for number, plot in enumerate(plots, start=1)]
    for name, plot in zip(names, plots, strict=True):
        (folder / PLOTS / name).write_bytes(plot.png)
    for old in (folder / PLOTS).glob("*.png"):
        if old.name not in names:
            old.unlink()
    return names


def _markdown(passages: Sequence[Passage], tables: Sequence[Table], plots: Sequence[Plot], names: Sequence[str]) -> str:
    parts = [f"# {_TITLE}", "## In plain words"]
    for passage in passages:
        parts.append(f"### {escaped(passage.title)}")
        parts.append("\n".join(f"* {escaped(sentence)}" for sentence in passage.sentences))
    parts += ["## Tables", markdown(tables)]
    if plots:
        parts.append("## Pictures")
    for name, plot in zip(names, plots, strict=True):
        parts += [f"### {escaped(plot.title)}", f"![{escaped(plot.alt)}]({PLOTS}/{name})", escaped(plot.note)]
    return "\n\n".join(parts) + "\n"


def _html(passages: Sequence[Passage], tables: Sequence[Table], plots: Sequence[Plot], rows: Sequence[Row]) -> str:
    environment = Environment(
        loader=PackageLoader("evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pictures = [(plot, base64.b64encode(plot.png).decode("ascii")) for plot in plots]
    return environment.get_template("report.html.j2").render(
        title=_TITLE,
        sets=sorted({row.set for row in rows}),
        commits=sorted({row.commit for row in rows if row.commit}),
        passages=passages,
        tables=tables,
        pictures=pictures,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m evaluation.report", description=__doc__)
    parser.add_argument("folder", type=Path, help="a run's folder, with its rows.jsonl")
    folder = parser.parse_args().folder
    try:
        write_report(folder)
    except ValueError as error:
        sys.exit(str(error))
    print(folder / HTML)


if __name__ == "__main__":
    main()
