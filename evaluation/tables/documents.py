"""Writes the evaluation's tables into README.md (the short ones) and evaluation/README.md (all), from results files.

`make eval-tables` runs it; a test compares. Must not know how anything was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evaluation.judge.judgements import Judgement
from evaluation.judge.labels import Agreement, agreement
from evaluation.names import PERSONA_F1, ROUGE_1, ROUGE_L
from evaluation.results_files import RESULTS, ROOT, read_all, read_judged, read_labelled
from evaluation.rows import Row
from evaluation.statistics import groups
from evaluation.tables import grid_tables, quality_tables
from evaluation.tables.markdown import Table

BEGIN = "<!-- evaluation: written by `make eval-tables` -->"
END = "<!-- evaluation: end -->"
_NOTHING = "Nothing is measured yet."


def all_tables(
    rows: Sequence[Row], judgements: Sequence[Judgement] = (), agreements: Sequence[Agreement] = ()
) -> list[Table]:
    """Everything there is to tabulate; a table of what was not measured says so."""
    found = groups(rows)
    tables = [quality_tables.improvements(found)]
    for group in found:
        tables += [quality_tables.quality(group), quality_tables.paired(group)]
    tables += [quality_tables.win_rate_table(judgements, agreements)]
    for group in found:
        tables += [grid_tables.ablation(group), grid_tables.sensitivity(group)]
        tables += [grid_tables.controls(group), grid_tables.cost(group)]
    return [*tables, grid_tables.gate(found)]


def short_tables(rows: Sequence[Row]) -> list[Table]:
    """What a reader wants first: the improvement, the methods' scores, whom MiLP beats and whom not, the gate."""
    found = groups(rows)
    tables = [quality_tables.improvements(found)]
    for group in found:
        tables += [quality_tables.quality(group, (ROUGE_1, ROUGE_L, PERSONA_F1)), quality_tables.paired(group)]
    return [*tables, grid_tables.gate(found)]


def markdown(tables: Sequence[Table]) -> str:
    return "\n\n".join(table.markdown() for table in tables)


def with_tables(text: str, tables: str) -> str:
    """`text` with what lies between its two marks replaced. Raises ValueError where a mark is missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the text needs the lines {BEGIN!r} and {END!r}, in this order")
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


def documents(results: Path = RESULTS, root: Path = ROOT) -> dict[Path, str]:
    """Each document that has tables, as it should be."""
    rows, judgements = read_all(results), read_judged(results)
    agreements = agreement(read_labelled(results), judgements)
    tables = {
        root / "README.md": markdown(short_tables(rows)) if rows else _NOTHING,
        root / "evaluation" / "README.md": markdown(all_tables(rows, judgements, agreements)) if rows else _NOTHING,
    }
    return {path: with_tables(path.read_text(encoding="utf-8"), made) for path, made in tables.items()}


def main() -> None:
    for document, content in documents().items():
        document.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
