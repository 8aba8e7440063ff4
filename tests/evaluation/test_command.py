"""The command itself, `python -m evaluation`: from a file of histories to a report."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from evaluation.__main__ import FIRST_USERS, GRIDS, _named, _sets, _without, app
from evaluation.judge.answers import read_answers
from evaluation.measure.grid import Grid, SetOf, read_grid
from evaluation.measure.people import read_people
from evaluation.results_files import merge
from evaluation.rows import Row, append, read
from tests.evaluation.measure.people_files import write_people
from tests.support.families import save_tiny_model

ROOT = Path(__file__).parents[2]


@pytest.fixture
def people(tmp_path: Path) -> Path:
    return write_people(tmp_path / "people.jsonl", "ada", "bob", "eve")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_tiny_model("llama", tmp_path / "tiny")


def evaluate(out: Path, people: Path, base: Path, *more: str) -> Result:
    given = ["--data", str(people), "--base", str(base), "--out", str(out), "--users", "2", "--seeds", "1"]
    return CliRunner().invoke(app, [*given, *more])


def test_a_file_of_histories_becomes_rows_texts_and_a_report_and_is_not_measured_twice(
    tmp_path: Path, people: Path, base: Path
) -> None:
    out, methods = tmp_path / "run", ("--method", "base", "--method", "malp", "--keep-texts")
    first = evaluate(out, people, base, *methods)
    assert (first.exit_code, first.stdout.split()[0]) == (0, f"{out / 'report.html'},")
    rows = read(out, Row)
    assert [(row.set, row.user, row.method) for row in rows] == [
        ("people", user, method) for user in ("ada", "bob") for method in ("base", "malp")
    ]
    assert [len(kept.answers) for kept in read_answers(out)] == [row.test for row in rows]
    assert {"report.html", "report.md", "results.json"} <= {path.name for path in out.iterdir()}

    assert evaluate(out, people, base, *methods).exit_code == 0
    assert read(out, Row) == rows


def test_answers_of_a_cell_that_was_measured_again_count_once(tmp_path: Path, people: Path, base: Path) -> None:
    out, methods = tmp_path / "run", ("--method", "base", "--keep-texts")
    evaluate(out, people, base, *methods)
    # Killed after the texts of the last cell and before its row.
    lines = (out / Row.FILE).read_text().splitlines(keepends=True)
    (out / Row.FILE).write_text("".join(lines[:-1]))
    assert evaluate(out, people, base, *methods).exit_code == 0
    assert len((out / "answers.jsonl").read_text().splitlines()) == 3
    assert [kept.user for kept in read_answers(out)] == ["ada", "bob"]


def test_rows_that_are_known_are_not_measured_again(tmp_path: Path, people: Path, base: Path) -> None:
    evaluate(tmp_path / "first", people, base, "--method", "base")
    known = tmp_path / "known"
    merge(tmp_path / "first", known)
    again = evaluate(tmp_path / "second", people, base, "--method", "base", "--known", str(known))
    assert again.exit_code == 0
    assert "2 rows were measured before" in again.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--method", "magic"), "Input should be"),
        (("--method", "other_user"), "other_user needs the method milp"),
        (("--exclude", "adda"), "'adda' is to be left out, but no set has such a user"),
        (("--known", "results", "--keep-texts"), "has no texts to keep: leave it out"),
    ],
)
def test_what_cannot_be_measured_ends_the_command_with_the_reason(
    tmp_path: Path, people: Path, base: Path, more: tuple[str, ...], said: str
) -> None:
    result = evaluate(tmp_path / "run", people, base, *more)
    assert result.exit_code == 1
    assert said in result.stderr


def test_a_base_that_is_not_there_ends_the_command_with_the_reason(tmp_path: Path, people: Path) -> None:
    result = evaluate(tmp_path / "run", people, tmp_path / "nothing", "--method", "base")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert f"milp: there is no folder '{tmp_path / 'nothing'}'" in result.stderr
    assert not (tmp_path / "run").exists()


def test_two_files_of_one_name_are_refused_for_rows_could_not_tell_them_apart(
    tmp_path: Path, people: Path, base: Path
) -> None:
    (tmp_path / "other").mkdir()
    twin = write_people(tmp_path / "other" / people.name, "zoe")
    result = evaluate(tmp_path / "run", people, base, "--data", str(twin))
    assert (result.exit_code, result.stderr) == (
        1,
        "milp: two sets have the same name; rows could not tell them apart.\n",
    )


def test_a_files_name_may_have_spaces(tmp_path: Path, base: Path) -> None:
    spaced = write_people(tmp_path / "my people.jsonl", "ada")
    assert evaluate(tmp_path / "run", spaced, base, "--method", "base").exit_code == 0
    assert [row.set for row in read(tmp_path / "run", Row)] == ["my-people"]


def test_a_grids_file_says_all_of_what_is_measured(tmp_path: Path, people: Path, base: Path) -> None:
    write_people(tmp_path / "others.jsonl", "zoe")
    save_tiny_model("gpt2", tmp_path / "other")
    grid = tmp_path / "grid.toml"
    grid.write_text(
        f'bases = ["{base.name}", "other"]\nmethods = ["base", "malp"]\nseeds = [3]\n'
        "[sensitivity]\nhistory = [0.5]\n"
        f'[[sets]]\nname = "one"\npaths = ["{people.name}"]\nfirst = 1\n'
        '[[sets]]\nname = "two"\npaths = ["others.jsonl"]\n'
    )
    result = CliRunner().invoke(app, [str(grid), "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.stderr
    measured = {(row.set, row.user, row.base, row.method, row.variant) for row in read(tmp_path / "run", Row)}
    assert measured == {
        (name, user, of, method, variant)
        for name, user in (("one", "ada"), ("two", "zoe"))
        for of in (base.name, "other")
        for method, variant in (("base", ""), ("malp", ""), ("malp", "history=0.5"))
    }
    assert {row.seed for row in read(tmp_path / "run", Row)} == {3}
    both = CliRunner().invoke(app, [str(grid), "--full", "--out", str(tmp_path / "run")])
    assert (both.exit_code, "leave --full out" in both.stderr) == (1, True)


def test_an_interrupted_run_says_how_to_go_on(
    tmp_path: Path, people: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("evaluation.measure.run.Run.measure", interrupted)
    result = evaluate(tmp_path / "run", people, base, "--method", "base")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        130,
        f"stopped; the same command goes on, `python -m evaluation.report {tmp_path / 'run'}` reports so far",
    )


def test_a_run_of_other_arguments_is_left_as_it_is(tmp_path: Path, people: Path, base: Path) -> None:
    evaluate(tmp_path / "run", people, base, "--method", "base")
    refused = evaluate(tmp_path / "run", people, base, "--method", "base", "--users", "1")
    assert (refused.exit_code, "(other histories)" in refused.stderr) == (1, True)


def test_which_grid_is_run_and_on_whom_is_a_fixed_rule() -> None:
    assert [_named(*given) for given in ((False, False), (True, False), (False, True), (True, True))] == [
        "examples.toml",
        "cut.toml",
        "full.toml",
        "full.toml",
    ]
    of = SetOf(name="examples", paths=[Path("e")])
    grid, files = Grid(sets=[of], bases=["b"]), [Path("a.jsonl"), Path("b.jsonl")]
    assert _sets(None, "queries", grid, FIRST_USERS, None) == [of]
    cut = _sets(files, "responses", grid, FIRST_USERS, None)
    assert [(one.name, one.first, one.wrote) for one in cut] == [("a", 10, "responses"), ("b", 10, "responses")]
    assert [one.first for one in _sets(files, "queries", grid, None, None)] == [None, None]
    assert [one.first for one in _sets(files, "queries", grid, FIRST_USERS, 3)] == [3, 3]


def test_who_is_left_out_is_left_out_of_the_sets_that_have_them(tmp_path: Path) -> None:
    files = [write_people(tmp_path / "a.jsonl", "ada", "eve"), write_people(tmp_path / "b.jsonl", "bob")]
    sets = [SetOf(name=path.stem, paths=[path]) for path in files]
    assert [of.exclude for of in _without(["eve", "bob"], sets)] == [["eve"], ["bob"]]


def test_a_run_is_made_again_on_its_own_people_only(tmp_path: Path, people: Path, base: Path) -> None:
    evaluate(tmp_path / "run", people, base, "--method", "base")
    record, out = str(tmp_path / "run" / "grid.json"), str(tmp_path / "again")
    refused = CliRunner().invoke(app, [record, "--out", out, "--trials", "3"])
    assert (refused.exit_code, "makes a run again, on the same people" in refused.stderr) == (1, True)
    assert CliRunner().invoke(app, [record, "--out", out, "--method", "base"]).exit_code == 0


def test_make_evaluate_hands_histories_and_wishes_on_to_the_command() -> None:
    def told(*wishes: str) -> str:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        dry = ["make", "--dry-run", "--no-print-directory", "evaluate", *wishes]
        lines = subprocess.run(dry, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout.splitlines()
        return " ".join(lines[-1].split())

    assert told() == ".venv/bin/milp evaluate"
    assert told("DATA=a.jsonl b.jsonl", "WROTE=responses", "EXCLUDE=ada eve", "FULL=1", "OUT=run") == (
        ".venv/bin/milp evaluate --data a.jsonl --data b.jsonl --wrote responses --exclude ada --exclude eve --full "
        "--out run"
    )


@pytest.mark.parametrize("name", ["examples.toml", "cut.toml", "full.toml"])
def test_of_the_examples_it_is_known_who_asks_and_who_answers(name: str) -> None:
    (of,) = read_grid(GRIDS / name).sets
    people = read_people(of.name, of.paths, of.first, of.exclude, wrote=of.wrote)
    assert {person.user: person.wrote for person in people} == {
        "diabetes-patient": "queries",
        "home-baker": "responses",
        "linux-helper": "responses",
    }


def test_a_set_of_one_user_is_measured_without_the_controls_that_need_others(tmp_path: Path, base: Path) -> None:
    people = write_people(tmp_path / "one.jsonl", "ada")
    found = evaluate(tmp_path / "run", people, base, "--method", "base", "--method", "domain_lora")
    assert found.exit_code == 0
    assert "the set 'one' has one user, so it is measured without domain_lora" in found.stderr
    assert [row.method for row in read(tmp_path / "run", Row)] == ["base"]


def test_going_on_with_other_code_says_so_and_keeps_what_is_there(tmp_path: Path, people: Path, base: Path) -> None:
    evaluate(tmp_path / "run", people, base, "--method", "base")
    assert "holds rows of other code" not in evaluate(tmp_path / "run", people, base, "--method", "base").stderr
    rows = read(tmp_path / "run", Row)
    (tmp_path / "run" / Row.FILE).unlink()
    for row in rows:
        append(tmp_path / "run", replace(row, commit="c0ffee"))
    found = evaluate(tmp_path / "run", people, base, "--method", "base")
    assert found.exit_code == 0
    assert "holds rows of other code (c0ffee; this is " in found.stderr
    assert {row.commit for row in read(tmp_path / "run", Row)} == {"c0ffee"}


def test_what_a_person_wrote_is_asked_of_files_only(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--wrote", "responses", "--out", str(tmp_path / "run")])
    assert (result.exit_code, (tmp_path / "run").exists()) == (1, False)
    assert "--wrote is for the files of --data" in result.stderr


def test_milp_evaluate_is_this_command_with_its_arguments_and_its_exit_code(tmp_path: Path, people: Path) -> None:
    given = ["--data", str(people), "--base", str(tmp_path / "nothing"), "--out", str(tmp_path / "run")]
    milp = subprocess.run([sys.executable, "-m", "app.cli.main", "evaluate", *given], cwd=ROOT, capture_output=True)
    assert (milp.returncode, milp.stderr.decode().count("\n")) == (1, 1)
    assert f"milp: there is no folder '{tmp_path / 'nothing'}'" in milp.stderr.decode()
