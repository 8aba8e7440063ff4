"""The committed form of what was measured: evaluation/results/<set>.json, one row a line, so that diffs are readable;
beside it what searches tried (searches/), what a judge said (judged/) and what people said (labels/).

Numbers and names only: no text of the data, no scores of single samples. Must not know what a number means.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from evaluation.judge.judgements import Judgement, read_judgements
from evaluation.judge.labels import Label, read_labels
from evaluation.rows import R, Row, SearchRecord, read
from evaluation.stale import opinions_not_stale, rows_not_stale

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

K = TypeVar("K", SearchRecord, Judgement, Label)
"""What is kept beside the rows."""
S = TypeVar("S", Row, SearchRecord, Judgement, Label)
"""What is of a set."""
J = TypeVar("J", Judgement, Label)
"""What was said of answers."""
_Lines = dict[Path, list[dict[str, Any]]]
"""What files are to hold."""

_JUDGED, _LABELS, _SEARCHES = "judged", "labels", "searches"
_LEFT_OUT = "per_sample"
_DIGITS = 6
"""Digits of a number that count; the rest is noise that makes lines long."""


def latest(rows: Iterable[R]) -> list[R]:
    """Each measurement once: of those with one key the last, in the order of first appearance."""
    return list({row.key: row for row in rows}.values())


def merge(folder: Path, results: Path = RESULTS, *, timed: bool = True) -> list[Path]:
    """Write a run's rows, searches, judgements and labels into the results, where they replace those of the same key.

    What the run makes stale goes (`evaluation.stale`): it is to be measured, or asked about, anew.

    Args:
        folder: a run's, with its rows.jsonl, its searches.jsonl, and what judge and people said where they were asked.
        timed: whether the seconds say something: not where the machine had other work, or the run was halted.

    Returns:
        The files written: <set>.json, and those of this name in searches/, judged/ and labels/.

    Raises:
        ValueError: a file of the run, or a file of results that its rows go into, is of another version.
    """
    # Everything is read before anything is written: what cannot be read leaves the results as they were.
    changed: dict[str, tuple[list[Row], list[Row]]] = {}
    lines: _Lines = {}
    for name, rows in _by_set(read(folder, Row)).items():
        path = results / f"{file_name(name)}.json"
        newer = rows if timed else [replace(row, seconds=math.nan) for row in rows]
        known = read_file(path) if path.exists() else []
        changed[name] = known, newer
        lines[path] = _row_lines([*rows_not_stale(known, newer), *newer])

    def as_they_are(said: list[J], name: str) -> list[J]:
        return opinions_not_stale(said, *changed[name]) if name in changed else said

    searches, judged, labels = read(folder, SearchRecord), read_judgements(folder), read_labels(folder)
    lines |= _beside(results / _SEARCHES, SearchRecord, searches, changed, lambda known, _: known)
    lines |= _beside(results / _JUDGED, Judgement, judged, changed, as_they_are)
    lines |= _beside(results / _LABELS, Label, labels, changed, as_they_are)
    for path, some in lines.items():
        _write_lines(path, some)
    return list(lines)


def read_all(results: Path = RESULTS) -> list[Row]:
    """Every row of every file in a folder, by file name; none where there is no folder."""
    return [row for path in sorted(results.glob("*.json")) for row in read_file(path)]


def read_judged(results: Path = RESULTS) -> list[Judgement]:
    """Every judgement of every file in a folder; none where no judge was asked."""
    return _read_beside(results / _JUDGED, Judgement)


def read_labelled(results: Path = RESULTS) -> list[Label]:
    """What people said of pairs that a judge may have judged; none where nobody was asked."""
    return _read_beside(results / _LABELS, Label)


def read_searches(results: Path = RESULTS) -> list[SearchRecord]:
    """Every search of every file in a folder; none where nothing was searched."""
    return _read_beside(results / _SEARCHES, SearchRecord)


def write_file(path: Path, rows: Iterable[Row]) -> None:
    """Write rows, each measurement once, sorted, a line each."""
    _write_lines(path, _row_lines(rows))


def read_file(path: Path) -> list[Row]:
    """The rows of one file.

    Raises:
        ValueError: a line has a column that rows do not have, or lacks one that they need.
    """
    loaded = _json(path)
    if not isinstance(loaded, list):
        raise ValueError(
            f"{path.name} is no file of results: copy those (a run's is results.json) into a folder of their own"
        )
    try:
        return [Row(**{name: _number(name, value) for name, value in line.items()}) for line in loaded]
    except TypeError as error:
        raise ValueError(f"{path.name} does not hold rows of this version: {error}") from None


def file_name(name: str) -> str:
    """A set's name as a file's: letters, digits, dot, hyphen and underscore; no leading dot."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip(".") or "set"


def json_lines(lines: Iterable[dict[str, Any]]) -> str:
    """The text of a committed file: a list with an object a line."""
    written = ",\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    return f"[\n{written}\n]\n" if written else "[]\n"


def rounded(value: Any) -> Any:
    """A value as it is committed: floats with the digits that count, None for what is no number."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    if not isinstance(value, float):
        return value
    # JSON has no NaN; `null` stands for it and is read as it.
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def _by_set(found: Iterable[S]) -> dict[str, list[S]]:
    of: dict[str, list[S]] = {}
    for item in found:
        of.setdefault(item.set, []).append(item)
    return of


def _beside(
    results: Path,
    kind: type[K],
    found: Sequence[K],
    sets: Iterable[str],
    kept: Callable[[list[K], str], list[K]],
) -> _Lines:
    """What is kept beside the rows of these sets and of those that something was found of, each key once.

    Args:
        kept: what of a set is still true.
    """
    lines: _Lines = {}
    new: dict[str, list[K]] = _by_set(found)
    for name in {**dict.fromkeys(sets), **new}:
        path = results / f"{file_name(name)}.json"
        known: list[K] = _read_lines(path, kind) if path.exists() else []
        by_key: dict[tuple[str, ...], K] = {item.key: item for item in kept(known, name)}
        by_key.update({item.key: item for item in new.get(name, [])})
        if known or by_key:
            lines[path] = [rounded(asdict(by_key[key])) for key in sorted(by_key)]
    return lines


def _read_beside(results: Path, kind: type[K]) -> list[K]:
    return [found for path in sorted(results.glob("*.json")) for found in _read_lines(path, kind)]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.parent.name}/{path.name} is no JSON: {error}") from None


def _read_lines(path: Path, kind: type[K]) -> list[K]:
    try:
        return [kind(**line) for line in _json(path)]
    except TypeError as error:
        raise ValueError(f"{path.parent.name}/{path.name} does not hold lines of this version: {error}") from None


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json_lines(lines), encoding="utf-8")


def _row_lines(rows: Iterable[Row]) -> list[dict[str, Any]]:
    return [_numbers(row) for row in sorted(latest(rows), key=_place)]


def _place(row: Row) -> tuple[Any, ...]:
    return row.set, row.base, row.variant, row.method, row.user, row.seed


def _numbers(row: Row) -> dict[str, Any]:
    values = {name: value for name, value in asdict(row).items() if name != _LEFT_OUT}
    ordered = {name: values[name] for name in _FIRST} | values
    return {name: rounded(value) for name, value in ordered.items()}


_SCORES = {field.name for field in fields(Row) if field.type in ("float", float)}


def _number(name: str, value: Any) -> Any:
    return math.nan if value is None and name in _SCORES else value


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m evaluation.results_files", description=__doc__)
    parser.add_argument("folder", type=Path, help="a run's folder, with its rows.jsonl")
    parser.add_argument("--untimed", action="store_true", help="leave the seconds out: the machine had other work")
    given = parser.parse_args()
    try:
        written = merge(given.folder, timed=not given.untimed)
    except ValueError as error:
        sys.exit(str(error))
    if not written:
        sys.exit(f"{given.folder} holds nothing to merge: name the folder that a run wrote its rows.jsonl into.")
    for path in written:
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
