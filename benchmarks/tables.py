"""Writes what the benchmarks found as Markdown tables: all of it into benchmarks/README.md, the targets into README.md.

`make bench-tables` runs it; a test compares. Must not know what any figure means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.results_file import ROOT, read_all

BEGIN = "<!-- bench: written by `make bench-tables` -->"
END = "<!-- bench: end -->"
_HEAD = "| what | ours | peer | times as good | least .. most | target |\n|---|---|---|---|---|---|"
_NOTHING = "Nothing is measured yet: `make bench-serve`, `make bench-search` and `make bench-store` do."


def full(reports: Sequence[Mapping[str, Any]]) -> str:
    """Each report's tables, headed by benchmark and machine."""
    return "\n\n".join(f"{_heading(report)}\n\n{in_tables(report['rows'])}" for report in reports) or _NOTHING


def short(reports: Sequence[Mapping[str, Any]]) -> str:
    """Only the rows that have a target, a table for each machine."""
    machines: dict[str, list[Mapping[str, Any]]] = {}
    for report in reports:
        machines.setdefault(report["machine"], []).extend(row for row in report["rows"] if row["target"] is not None)
    return "\n\n".join(f"On {name}:\n\n{table(rows)}" for name, rows in machines.items() if rows) or _NOTHING


def in_tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """Whatever several measures set beside the same peers has a table of its own, a line for each peer; the rest is
    listed row by row."""
    tables: list[str] = []
    for wide, some in groupby(_by_subject(rows), key=_is_wide):
        groups = list(some)
        tables += map(wide_table, groups) if wide else [table([row for group in groups for row in group])]
    return "\n\n".join(tables)


def wide_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One subject: a column for each measure, a line for ours and for each peer with how many times as good ours is."""
    measures = list(dict.fromkeys(map(_measure, rows)))
    peers = list(dict.fromkeys(row["peer_name"] for row in rows))
    cell = {(row["peer_name"], _measure(row)): row for row in rows}
    lines = [["ours", *(shown(cell[peers[0], measure]["ours"]) for measure in measures)]]
    lines += [[peer, *(_beside(cell[peer, measure]) for measure in measures)] for peer in peers]
    head = [[f"**{_subject(rows[0])}**", *measures], ["---"] * (len(measures) + 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in head + lines)


def _beside(row: Mapping[str, Any]) -> str:
    spread = "" if row["spread"] is None else f"; {' .. '.join(map(times, row['spread']))}"
    target = "" if row["target"] is None else f"; target {shown(row['target'])}"
    return f"{shown(row['peer'])} ({times(row['ratio'])}{spread}{target})"


def _by_subject(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    return [list(group) for _, group in groupby(rows, key=_subject)]


def _subject(row: Mapping[str, Any]) -> str:
    """What a row is about; the rest of what it says is the measure."""
    return str(row["what"]).partition(": ")[0]


def _measure(row: Mapping[str, Any]) -> str:
    measure = str(row["what"]).partition(": ")[2]
    return f"{measure}, {row['unit']}" if measure else str(row["unit"])


def _is_wide(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every measure has the same peers, and there are several of both."""
    measures, peers = ({of(row) for row in rows} for of in (_measure, lambda row: row["peer_name"]))
    return min(len(measures), len(peers)) > 1 and len(rows) == len(measures) * len(peers) and None not in peers


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join([_HEAD, *(f"| {' | '.join(cells(row))} |" for row in rows)])


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row as words: what, ours, the peer's with its name, ratio, spread, target. Empty where there is none."""
    peer = "" if row["peer"] is None else f"{shown(row['peer'])} {row['unit']}, {row['peer_name']}"
    spread = "" if row["spread"] is None else " .. ".join(map(times, row["spread"]))
    return [row["what"], f"{shown(row['ours'])} {row['unit']}", peer, times(row["ratio"]), spread, shown(row["target"])]


def shown(value: float | None) -> str:
    """A number with three digits that count, and without an exponent."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{float(f'{value:.3g}'):.6g}"


def times(ratio: float | None) -> str:
    """How many times better; what cost nothing measurable is better beyond telling."""
    return "over 1,000" if ratio is not None and ratio > 1000 else shown(ratio)


def with_tables(text: str, tables: str) -> str:
    """`text` with what lies between its two marks replaced. Raises ValueError where a mark is missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the text needs the lines {BEGIN!r} and {END!r}, in this order")
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


def documents() -> dict[Path, str]:
    """Each document that has tables, as it should be."""
    reports = read_all()
    tables = {ROOT / "README.md": short(reports), ROOT / "benchmarks" / "README.md": full(reports)}
    return {path: with_tables(path.read_text(encoding="utf-8"), made) for path, made in tables.items()}


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows at a terminal, in columns."""
    lines = [["what", "ours", "peer", "times", "spread", "target"], *map(cells, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _heading(report: Mapping[str, Any]) -> str:
    facts = [f"{name} {number}" for name, number in report["versions"].items()]
    facts += [f"{report[name]} {name}" for name in ("threads", "dtype") if name in report]
    if "minutes" in report:
        facts.append(f"the whole in {shown(report['minutes'])} minutes")
    measured = {(row["commit"], row["command"]) for row in report["rows"]}
    runs = "; ".join(f"`{command}` at {commit}" for commit, command in sorted(measured))
    return f"### {report['benchmark']}, {report['machine']}\n\n{runs}, {report['measured']}; {', '.join(facts)}."


if __name__ == "__main__":
    for document, content in documents().items():
        document.write_text(content, encoding="utf-8")
