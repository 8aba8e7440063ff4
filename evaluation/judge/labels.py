"""A sheet for people to say which of two answers is better, blind; and how far a judge agrees with what they said.

`python -m evaluation.judge.labels FOLDER` writes the sheet, labels.csv, and labels_key.json, which is not for who
labels. Must not know how a judge is asked.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from evaluation.judge.answers import PAIRS, Pair, pairs_of, read_answers
from evaluation.judge.judgements import FIRST, SECOND, TIE, UNREADABLE, Judgement

SHEET, KEY = "labels.csv", "labels_key.json"
_COLUMNS: Final = ("item", "query", "reference", "answer_a", "answer_b", "better")
"""The reference is what was really answered: a judge sees it too, and the two are compared."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_WORTH = {FIRST: 1, TIE: 0, SECOND: -1}


@dataclass(frozen=True, slots=True)
class Label:
    """What a person said of one pair: FIRST, SECOND or TIE. `pair_key` is that of `Pair` and `Judgement`."""

    pair_key: Sequence[str]
    better: str

    @property
    def set(self) -> str:
        """Whose users the pair is of."""
        return self.pair_key[0]

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(self.pair_key)


@dataclass(frozen=True, slots=True)
class Agreement:
    """A judge against people, on what both said.

    Args:
        pearson: correlation of the two, first better being 1, a tie 0, second better -1; None where one of them always
            said the same, or of fewer than two items.
        items: 0 where the judge said something readable of none of the labelled pairs.
        accuracy: share of the items of which both said the same of the three, 0..1; None where there are none.
    """

    judge: str
    items: int
    pearson: float | None
    accuracy: float | None


def write_sheet(folder: Path, items: int = 50, methods: Sequence[tuple[str, str]] = PAIRS[1:2], seed: int = 0) -> int:
    """Write a run's sheet and its key. Which pairs are drawn, in which order, and who is A, all come from the seed.

    Returns how many items there are.

    Raises:
        ValueError: the run kept no texts of these methods.
        FileExistsError: there is a sheet already; it may be filled in.
    """
    drawn = _drawn(list(pairs_of(read_answers(folder), methods)), items, random.Random(seed))
    if not drawn:
        raise ValueError(f"{folder} holds no answers of these methods to label; evaluate once more and keep the texts")
    with (folder / SHEET).open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for number, (pair, swapped) in enumerate(drawn, start=1):
            answers = pair.answers[::-1] if swapped else pair.answers
            writer.writerow([number, *map(_harmless, (pair.query, pair.reference, *answers)), ""])
    key = {str(number): {"pair": pair.key, "swapped": swapped} for number, (pair, swapped) in enumerate(drawn, start=1)}
    (folder / KEY).write_text(json.dumps(key, indent=1) + "\n", encoding="utf-8")
    return len(drawn)


def read_labels(folder: Path) -> list[Label]:
    """What people filled in; items left empty are left out, and there are none without a sheet.

    Raises:
        ValueError: something else than A, B or tie was filled in, or an item is not in the key, or there is no key,
            or the sheet lacks a column that is needed.
    """
    if not (folder / SHEET).exists():
        return []
    if not (folder / KEY).exists():
        raise ValueError(
            f"{folder / SHEET} is there without {KEY}, which says whose answer is A: put it back beside it"
        )
    key = json.loads((folder / KEY).read_text(encoding="utf-8"))
    found = [_label(line, key) for line in _lines(folder / SHEET)]
    return [label for label in found if label]


def agreement(labels: Iterable[Label], judgements: Iterable[Judgement]) -> list[Agreement]:
    """Each judge against people, also one that judged none of the labelled pairs; none where there are no labels."""
    said = {label.key: label.better for label in labels}
    both: dict[str, list[tuple[str, str]]] = {}
    for given in judgements if said else ():
        of_judge = both.setdefault(given.judge, [])
        if given.pair_key in said and given.outcome != UNREADABLE:
            of_judge.append((given.outcome, said[given.pair_key]))
    return [_agreement(judge, both[judge]) for judge in sorted(both)]


def _drawn(pairs: list[Pair], items: int, chance: random.Random) -> list[tuple[Pair, bool]]:
    # Two answers that are the same have nothing to choose between.
    unlike = [pair for pair in pairs if pair.answers[0] != pair.answers[1]]
    return [(pair, chance.random() < 0.5) for pair in chance.sample(unlike, min(items, len(unlike)))]


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: texts come from outside."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _lines(sheet: Path) -> list[dict[str, str]]:
    """The sheet's items. Spreadsheets of some countries write semicolons or tabs, and another encoding than was read;
    what is needed of a line is plain ASCII in all of them."""
    for mark in ",;\t":
        with sheet.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            lines = csv.DictReader(file, delimiter=mark)
            if {"item", "better"} <= set(lines.fieldnames or ()):
                return list(lines)
    raise ValueError(
        f"{sheet} has no columns item and better: save it as CSV, in UTF-8 and with commas, semicolons or tabs, with "
        f"the first line it had: {','.join(_COLUMNS)}"
    )


def _label(line: dict[str, str], key: dict[str, dict[str, object]]) -> Label | None:
    said = (line.get("better") or "").strip().lower()
    if not said:
        return None
    if said not in ("a", "b", "tie"):
        raise ValueError(f"item {line['item']} of {SHEET} says {said!r}; fill in A, B or tie, or leave it empty")
    item = key.get(line["item"])
    if item is None:
        raise ValueError(f"item {line['item']} of {SHEET} is not in {KEY}; the two belong together")
    pair, first = item["pair"], "b" if item["swapped"] else "a"
    if not isinstance(pair, list):
        raise ValueError(f"{KEY} does not say what item {line['item']} is; write sheet and key anew")
    return Label(tuple(pair), TIE if said == "tie" else FIRST if said == first else SECOND)


def _agreement(judge: str, both: Sequence[tuple[str, str]]) -> Agreement:
    from scipy.stats import pearsonr

    if not both:
        return Agreement(judge, 0, None, None)
    judged, people = ([_WORTH[said] for said in side] for side in zip(*both, strict=True))
    defined = len(set(judged)) > 1 and len(set(people)) > 1
    return Agreement(
        judge=judge,
        items=len(both),
        pearson=float(pearsonr(judged, people).statistic) if defined else None,
        accuracy=sum(one == other for one, other in both) / len(both),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m evaluation.judge.labels", description=__doc__)
    parser.add_argument("folder", type=Path, help="a run's folder, with its answers.jsonl")
    parser.add_argument("--items", type=int, default=50)
    parser.add_argument("--against", default="dictionary_memory", help="the method that MiLP is set against")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    try:
        count = write_sheet(given.folder, given.items, [("milp", given.against)], given.seed)
    except (ValueError, FileExistsError) as error:
        sys.exit(str(error))
    print(f"{count} items in {given.folder / SHEET}; keep {KEY} from whoever fills them in")


if __name__ == "__main__":
    main()
