"""Writes the evaluation's tables into README.md (the short ones) and evaluation/README.md (all), and the means over
users into evaluation/results/means/<set>.json, from results files.

`make eval-tables` runs it; a test compares. Must not know how anything was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.judge.judgements import Judgement
from evaluation.judge.labels import Agreement, agreement
from evaluation.names import METRICS, PERSONA_F1, ROUGE_1, ROUGE_L, ordered
from evaluation.results_files import RESULTS, ROOT, file_name, json_lines, read_all, read_judged, read_labelled, rounded
from evaluation.rows import Row
from evaluation.statistics import Group, estimate, groups, per_user
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
    made = {path: with_tables(path.read_text(encoding="utf-8"), text) for path, text in tables.items()}
    for name in sorted({row.set for row in rows}):
        lines = means([row for row in rows if row.set == name])
        made[results / "means" / f"{file_name(name)}.json"] = json_lines(lines)
    return made


def means(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Of each method and variant the means over users, with their intervals, as the tables have them: a line each."""
    return [
        _mean(group, method, variant)
        for group in groups(rows)
        for method in ordered(group.methods)
        for variant in sorted({row.variant for row in group.rows if row.method == method})
    ]


def _mean(group: Group, method: str, variant: str) -> dict[str, Any]:
    some = [row for row in group.rows if (row.method, row.variant) == (method, variant)]
    line: dict[str, Any] = {"set": group.name, "base": group.base, "method": method, "variant": variant}
    line |= {"users": len({row.user for row in some}), "seeds": sorted({row.seed for row in some})}
    for metric in METRICS:
        over = estimate(per_user(some, method, metric.name, variant))
        line[metric.name] = over and rounded([over.mean, over.low, over.high])
    return line


def main() -> None:
    for document, content in documents().items():
        document.parent.mkdir(parents=True, exist_ok=True)
        document.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
