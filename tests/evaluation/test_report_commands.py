"""The commands that evaluation/README.md names, from a run's folder to what they leave in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from evaluation import results_files
from evaluation.judge import asking, labels
from evaluation.judge.judgements import read_judgements
from evaluation.report import writing
from evaluation.rows import append
from tests.evaluation.made import keep_answers, rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for row in rows("base", [1.0]) + rows("milp", [2.0]):
        append(tmp_path, row)
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])


def test_a_report_is_written_and_its_place_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call(monkeypatch, folder)
    writing.main()
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    assert {"report.html", "report.md", "results.json", "plots"} < {path.name for path in folder.iterdir()}


def test_a_judge_that_cannot_be_reached_ends_the_command_with_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_answers(folder, "u0", "milp", ["ours"])
    keep_answers(folder, "u0", "base", ["theirs"])
    monkeypatch.setattr(asking.time, "sleep", lambda _seconds: None)
    call(monkeypatch, folder, "--url", "http://127.0.0.1:9/v1", "--model", "m")
    with pytest.raises(SystemExit, match="run the same command again"):
        asking.main()


def test_the_judge_is_asked_of_the_method_one_names_and_says_how_to_report_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Answers that are the same word for word are a tie without a question.
    for method in ("milp", "base", "milp_memory"):
        keep_answers(folder, "u0", method, ["same"])
    call(monkeypatch, folder, "--url", "http://127.0.0.1:9/v1", "--model", "m", "--against", "milp_memory")
    asking.main()
    assert [(given.first, given.second) for given in read_judgements(folder)] == [("milp", "milp_memory")]
    assert f"python -m evaluation.report {folder} puts" in capsys.readouterr().err


def test_a_run_without_texts_ends_the_commands_that_need_them_with_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(monkeypatch, folder, "--url", "http://127.0.0.1:9/v1", "--model", "m")
    with pytest.raises(SystemExit, match="keep the texts"):
        asking.main()
    call(monkeypatch, folder)
    with pytest.raises(SystemExit, match="keep the texts"):
        labels.main()


def test_a_sheet_is_written_against_the_method_one_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_answers(folder, "u0", "milp", ["ours"])
    keep_answers(folder, "u0", "base", ["theirs"])
    call(monkeypatch, folder, "--against", "base", "--items", 5)
    labels.main()
    assert "1 items in" in capsys.readouterr().out


def test_a_run_of_another_version_or_of_nothing_is_not_merged_and_the_command_says_why(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "rows.jsonl").write_text('{"colour": "red"}\n')
    call(monkeypatch, folder)
    with pytest.raises(SystemExit, match=r"rows\.jsonl was not written by this version"):
        results_files.main()
    call(monkeypatch, tmp_path / "nowhere")
    with pytest.raises(SystemExit, match="holds nothing to merge"):
        results_files.main()


@pytest.mark.parametrize("module", ["judge", "judge.labels", "report", "results_files"])
def test_every_command_explains_itself(module: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", f"evaluation.{module}", "--help"], cwd=results_files.ROOT, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert f"python -m evaluation.{module}" in ran.stdout
