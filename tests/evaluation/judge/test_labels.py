"""The sheet that people fill in, and a judge's agreement with them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from evaluation.judge.judgements import Judgement
from evaluation.judge.labels import KEY, SHEET, Label, agreement, read_labels, write_sheet
from tests.evaluation.made import keep_answers

METHODS = [("milp", "base")]


def texts(folder: Path, count: int = 20) -> None:
    keep_answers(folder, "u0", "milp", [f"ours {number}" for number in range(count)])
    keep_answers(folder, "u0", "base", [f"theirs {number}" for number in range(count)])


def sheet(folder: Path) -> list[dict[str, str]]:
    with (folder / SHEET).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def fill(folder: Path, said: list[str]) -> None:
    lines = sheet(folder)
    with (folder / SHEET).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows({**line, "better": better} for line, better in zip(lines, said, strict=True))


def test_the_sheet_is_blind_shuffled_by_seed_and_the_key_undoes_it(tmp_path: Path) -> None:
    texts(tmp_path)
    assert write_sheet(tmp_path, 12, METHODS, seed=1) == 12
    lines, key = sheet(tmp_path), json.loads((tmp_path / KEY).read_text())
    ours_first = [line["answer_a"].startswith("ours") for line in lines]
    assert len(set(ours_first)) == 2
    assert [not key[line["item"]]["swapped"] for line in lines] == ours_first
    assert "milp" not in (tmp_path / SHEET).read_text()
    # What was really answered stands beside, as it does for a judge.
    assert all(line["reference"] == line["query"].replace("question", "reference")[:-1] for line in lines)
    order = [line["query"] for line in lines]
    assert order != sorted(order)
    # What a person says of A or B comes back as first or second, whichever way it was shown.
    fill(tmp_path, ["A" if first else "b" for first in ours_first])
    assert {label.better for label in read_labels(tmp_path)} == {"first"}


def test_the_same_seed_draws_the_same_sheet_and_another_another(tmp_path: Path) -> None:
    made = []
    for number, seed in enumerate((3, 3, 4)):
        folder = tmp_path / str(number)
        folder.mkdir()
        texts(folder)
        write_sheet(folder, 12, METHODS, seed)
        made.append((folder / SHEET).read_text())
    assert made[0] == made[1] != made[2]


def test_answers_that_are_the_same_are_not_asked_about(tmp_path: Path) -> None:
    keep_answers(tmp_path, "u0", "milp", ["same", "ours"])
    keep_answers(tmp_path, "u0", "base", ["same", "theirs"])
    assert write_sheet(tmp_path, 10, METHODS) == 1


def test_a_sheet_that_may_be_filled_in_is_not_written_over(tmp_path: Path) -> None:
    texts(tmp_path)
    write_sheet(tmp_path, 5, METHODS)
    with pytest.raises(FileExistsError):
        write_sheet(tmp_path, 5, METHODS)


def test_no_text_becomes_a_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    keep_answers(tmp_path, "u0", "milp", ["=HYPERLINK(1)"])
    keep_answers(tmp_path, "u0", "base", ["plain, with a comma"])
    write_sheet(tmp_path, 1, METHODS)
    (line,) = sheet(tmp_path)
    assert {line["answer_a"], line["answer_b"]} == {"'=HYPERLINK(1)", "plain, with a comma"}


def test_empty_items_are_left_out_and_anything_else_is_refused(tmp_path: Path) -> None:
    texts(tmp_path)
    write_sheet(tmp_path, 3, METHODS)
    fill(tmp_path, ["", " Tie ", ""])
    assert [label.better for label in read_labels(tmp_path)] == ["tie"]
    fill(tmp_path, ["", "both", ""])
    with pytest.raises(ValueError, match="fill in A, B or tie"):
        read_labels(tmp_path)
    assert read_labels(tmp_path / "nowhere") == []


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_a_sheet_that_a_spreadsheet_wrote_anew_is_read(tmp_path: Path, mark: str, encoding: str) -> None:
    keep_answers(tmp_path, "u0", "milp", ["één; a, b\tc", "ours"])
    keep_answers(tmp_path, "u0", "base", ["zwölf\nlines", "theirs"])
    write_sheet(tmp_path, 2, METHODS)
    lines = sheet(tmp_path)
    with (tmp_path / SHEET).open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), delimiter=mark)
        writer.writeheader()
        writer.writerows({**line, "better": "tie"} for line in lines)
    assert [label.better for label in read_labels(tmp_path)] == ["tie", "tie"]


@pytest.mark.parametrize("text", ["", "item|better\n1|A\n", "1;q;x;y;A\n", "item,query\n1,q\n"])
def test_a_sheet_without_its_columns_is_refused_with_what_to_do(tmp_path: Path, text: str) -> None:
    texts(tmp_path)
    write_sheet(tmp_path, 1, METHODS)
    (tmp_path / SHEET).write_text(text)
    with pytest.raises(
        ValueError, match=r"no columns item and better.*first line.*item,query,reference,answer_a,answer_b"
    ):
        read_labels(tmp_path)


def test_without_texts_there_is_nothing_to_label(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep the texts"):
        write_sheet(tmp_path, 3, METHODS)


def said(people: list[str], judge: list[str]) -> tuple[list[Label], list[Judgement]]:
    judged = [
        Judgement("s", "small", "u", 0, number, "milp", "base", (outcome, outcome), "judge")
        for number, outcome in enumerate(judge)
    ]
    return [Label(given.pair_key, better) for given, better in zip(judged, people, strict=True)], judged


def test_agreement_is_the_share_said_alike_and_pearsons_correlation() -> None:
    (found,) = agreement(*said(["first", "first", "second", "tie"], ["first", "second", "second", "tie"]))
    assert (found.items, found.accuracy) == (4, 0.75)
    # People 1, 1, -1, 0 (mean 1/4), the judge 1, -1, -1, 0 (mean -1/4): the deviations' products sum to 1.25,
    # their squares to 2.75 on both sides.
    assert found.pearson == pytest.approx(1.25 / 2.75)


def test_a_judge_that_always_says_the_same_has_no_correlation() -> None:
    (found,) = agreement(*said(["first", "second"], ["first", "first"]))
    assert (found.pearson, found.accuracy) == (None, 0.5)


def test_what_the_judge_did_not_say_readably_is_not_compared() -> None:
    labels, judged = said(["first", "first"], ["unreadable", "first"])
    (found,) = agreement(labels, judged)
    assert (found.items, found.accuracy) == (1, 1.0)
    assert agreement(labels, []) == []


def test_a_judge_of_other_pairs_than_the_labelled_ones_is_told_apart_from_no_labels() -> None:
    labels, judged = said(["first", "first"], ["first", "first"])
    (found,) = agreement(labels[:1], judged[1:])
    assert (found.judge, found.items, found.pearson, found.accuracy) == ("judge", 0, None, None)
    assert agreement([], judged) == []
