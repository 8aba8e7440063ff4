"""The committed form of what was measured: evaluation/results/<set>.json, one row a line, so that diffs are readable;
beside it what searches tried (searches/) and what a judge said (judged/).

Numbers and names only: no text of the data, no scores of single samples. Must not know what a number means.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from evaluation.judge.judgements import Judgement, read_judgements
from evaluation.rows import Row, SearchRecord, read

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "evaluation" / "results"

_FIRST = (
    "set",
    "user",
    "method",
    "variant",
    "seed",
    "rouge_1",
    "rouge_l",
    "persona_f1",
    "loss",
    "trials",
    "activated",
    "commit",
)
"""The columns every reader looks for; the other numbers of a row follow in its own order."""

R = TypeVar("R", Row, SearchRecord, Judgement)

_JUDGED, _SEARCHES = "judged", "searches"
_LEFT_OUT = "per_sample"
_DIGITS = 6
"""Digits of a number that count; the rest is noise that makes lines long."""


def latest(rows: Iterable[Row]) -> list[Row]:
    """Each measurement once: of those with one key the last, in the order of first appearance."""
    return list({row.key: row for row in rows}.values())


def merge(folder: Path, results: Path = RESULTS, *, timed: bool = True) -> list[Path]:
    """Write a run's rows, searches and judgements into the results, where they replace those of the same key.

    Args:
        folder: a run's, with its rows.jsonl, its searches.jsonl, and its judgements.jsonl where a judge was asked.
        timed: whether the seconds say something: not where the machine had other work, or the run was halted.

    Returns:
        The files written: <set>.json, searches/<set>.json and judged/<set>.json.
    """
    written = []
    for name, rows in _by_set(read(folder, Row)).items():
        if not timed:
            rows = [replace(row, seconds=math.nan) for row in rows]
        path = results / f"{file_name(name)}.json"
        write_file(path, [*(read_file(path) if path.exists() else []), *rows])
        written.append(path)
    for name, records in _by_set(read(folder, SearchRecord)).items():
        path = results / _SEARCHES / f"{file_name(name)}.json"
        searches = {record.key: record for record in [*(_read_searches_file(path) if path.exists() else []), *records]}
        _write_lines(path, [_rounded(asdict(searches[key])) for key in sorted(searches)])
        written.append(path)
    for name, judgements in _by_set(read_judgements(folder)).items():
        path = results / _JUDGED / f"{file_name(name)}.json"
        before = _read_judged_file(path) if path.exists() else []
        unique = {judgement.key: judgement for judgement in [*before, *judgements]}
        _write_lines(path, [asdict(unique[key]) for key in sorted(unique)])
        written.append(path)
    return written


def read_all(results: Path = RESULTS) -> list[Row]:
    """Every row of every file in a folder, by file name; none where there is no folder."""
    return [row for path in sorted(results.glob("*.json")) for row in read_file(path)]


def read_judged(results: Path = RESULTS) -> list[Judgement]:
    """Every judgement of every file in a folder; none where no judge was asked."""
    return [given for path in sorted((results / _JUDGED).glob("*.json")) for given in _read_judged_file(path)]


def read_searches(results: Path = RESULTS) -> list[SearchRecord]:
    """Every search of every file in a folder; none where nothing was searched."""
    return [found for path in sorted((results / _SEARCHES).glob("*.json")) for found in _read_searches_file(path)]


def write_file(path: Path, rows: Iterable[Row]) -> None:
    """Write rows, each measurement once, sorted, a line each."""
    _write_lines(path, [_numbers(row) for row in sorted(latest(rows), key=_place)])


def read_file(path: Path) -> list[Row]:
    """The rows of one file.

    Raises:
        ValueError: a line has a column that rows do not have, or lacks one that they need.
    """
    loaded = json.loads(path.read_text(encoding="utf-8"))
    try:
        return [Row(**{name: _number(name, value) for name, value in line.items()}) for line in loaded]
    except TypeError as error:
        raise ValueError(f"{path.name} does not hold rows of this version: {error}") from None


def file_name(name: str) -> str:
    """A set's name as a file's: letters, digits, dot, hyphen and underscore; no leading dot."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip(".") or "set"


def _by_set(items: Iterable[R]) -> dict[str, list[R]]:
    found: dict[str, list[R]] = {}
    for item in items:
        found.setdefault(item.set, []).append(item)
    return found


def _read_judged_file(path: Path) -> list[Judgement]:
    return [Judgement(**line) for line in json.loads(path.read_text(encoding="utf-8"))]


def _read_searches_file(path: Path) -> list[SearchRecord]:
    return [SearchRecord(**line) for line in json.loads(path.read_text(encoding="utf-8"))]


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = ",\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    path.write_text(f"[\n{written}\n]\n" if written else "[]\n", encoding="utf-8")


def _place(row: Row) -> tuple[Any, ...]:
    return row.set, row.base, row.variant, row.method, row.user, row.seed


def _numbers(row: Row) -> dict[str, Any]:
    values = {name: value for name, value in asdict(row).items() if name != _LEFT_OUT}
    ordered = {name: values[name] for name in _FIRST} | values
    return {name: _rounded(value) for name, value in ordered.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    if not isinstance(value, float):
        return value
    # JSON has no NaN; `null` stands for it and is read as it.
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


_SCORES = {field.name for field in fields(Row) if field.type in ("float", float)}


def _number(name: str, value: Any) -> Any:
    return math.nan if value is None and name in _SCORES else value


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m evaluation.results_files", description=__doc__)
    parser.add_argument("folder", type=Path, help="a run's folder, with its rows.jsonl")
    parser.add_argument("--untimed", action="store_true", help="leave the seconds out: the machine had other work")
    given = parser.parse_args()
    for path in merge(given.folder, timed=not given.untimed):
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
