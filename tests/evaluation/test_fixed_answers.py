"""What one answer to every query scores: made of the past alone, of real sentences or of frequent words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import fmean

from engine.metrics import rouge_l
from evaluation.fixed_answers import best_words, most_typical_of, table
from evaluation.measure.people import read_people
from tests.evaluation.measure.people_files import write_people


def test_the_past_answer_most_like_the_others_is_one_of_them() -> None:
    assert most_typical_of(["Rain.", "I like tea.", "I like green tea.", "Nobody knows"]) == "I like tea."
    assert most_typical_of(["alone"]) == "alone"
    assert most_typical_of(["none", "is like", "another"]) == "none"


def test_frequent_words_are_put_where_they_help_most() -> None:
    answers = ["you can try the menu", "you should ask the list", "can you see the log"]
    words = best_words(answers)
    assert words.split()[0] == "you"
    assert "the" in words.split()
    mean = fmean(rouge_l(answer, words) for answer in answers)
    assert mean > fmean(rouge_l(answer, most_typical_of(answers)) for answer in answers[1:])
    assert best_words(["", "?"]) == ""


def test_answers_are_made_without_the_test_part(tmp_path: Path) -> None:
    (ada,) = read_people("people", [write_people(tmp_path / "people.jsonl", "ada")])
    # Every answer of ada is "ada likes TOPIC, as always on day DAY."
    typical, frequent = table("people", [ada]).rows
    assert [row[-1] for row in (typical, frequent)] == ["1", "1"]
    known = [sample.response for sample in ada.known]
    expected = fmean(rouge_l(sample.response, best_words(known)) for sample in ada.split.test)
    assert frequent[2].startswith(f"{expected:.2f} (")


def test_the_command_prints_a_table_for_each_file(tmp_path: Path) -> None:
    files = [str(write_people(tmp_path / f"{name}.jsonl", "ada", "bob")) for name in ("left", "right")]
    command = [sys.executable, "-m", "evaluation.fixed_answers", *files, "--first", "1"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "One answer to every query: left" in told
    assert "One answer to every query: right" in told
