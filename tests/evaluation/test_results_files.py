"""The committed form of rows: what it holds, how a run is merged into it, and that it is read as it was written."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.judge import labels
from evaluation.judge.judgements import Judgement
from evaluation.judge.judgements import append as append_judgement
from evaluation.results_files import (
    file_name,
    merge,
    read_all,
    read_file,
    read_judged,
    read_labelled,
    read_searches,
    write_file,
)
from evaluation.rows import append
from evaluation.tables import documents
from tests.evaluation.made import row, search, trial


def run(folder: Path, *rows_: object) -> Path:
    folder.mkdir(exist_ok=True)
    for one in rows_:
        append(folder, one)  # type: ignore[arg-type]
    return folder


def test_a_row_is_a_line_that_begins_with_what_readers_look_for_and_has_no_samples_scores(tmp_path: Path) -> None:
    made = row("u0", "milp", 12.3456789, trials=24, activated=True, commit="abc", per_sample={"rouge_l": [1.0, 2.0]})
    write_file(tmp_path / "s.json", [made])
    first, line, last = (tmp_path / "s.json").read_text().splitlines()
    assert (first, last) == ("[", "]")
    names = list(json.loads(line))
    assert names[:7] == ["set", "user", "method", "variant", "seed", "rouge_1", "rouge_l"]
    assert names[7:12] == ["persona_f1", "loss", "trials", "activated", "commit"]
    assert {"base", "seconds", "parameters", "bytes", "prompt_tokens", "layers", "test"} < set(names)
    assert "per_sample" not in names
    assert json.loads(line)["rouge_l"] == 12.3457


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    made = [row("u0", "milp", 1.5, loss=math.nan, trials=3, layers="0110", n=1, r=8), row("u0", "base", 2.5)]
    write_file(tmp_path / "s.json", made)
    assert "NaN" not in (tmp_path / "s.json").read_text()
    base, milp = read_file(tmp_path / "s.json")
    assert base == made[1]
    assert math.isnan(milp.loss)
    assert (milp.rouge_l, milp.trials, milp.layers, milp.activated) == (1.5, 3, "0110", None)


def test_of_a_run_beside_other_work_the_seconds_are_left_out(tmp_path: Path) -> None:
    results = tmp_path / "results"
    timed = replace(row("a", "milp", 1.0), seconds=7.5)
    merge(run(tmp_path / "one", timed), results, timed=False)
    (kept,) = read_all(results)
    assert math.isnan(kept.seconds)
    assert kept.rouge_l == 1.0
    merge(run(tmp_path / "two", timed), results)
    assert [found.seconds for found in read_all(results)] == [7.5]


def test_merging_replaces_by_key_keeps_the_rest_and_sorts(tmp_path: Path) -> None:
    results = tmp_path / "results"
    merge(run(tmp_path / "one", row("b", "milp", 1.0), row("a", "milp", 2.0), row("a", "base", 3.0)), results)
    written = merge(
        run(tmp_path / "two", row("a", "milp", 8.0), row("a", "milp", 9.0), row("a", "milp", 5.0, seed=1)), results
    )
    assert written == [results / "ubuntu_irc.json"]
    assert [(found.method, found.user, found.seed, found.rouge_l) for found in read_all(results)] == [
        ("base", "a", 0, 3.0),
        ("milp", "a", 0, 9.0),
        ("milp", "a", 1, 5.0),
        ("milp", "b", 0, 1.0),
    ]


def test_of_the_committed_rows_those_that_the_base_answers_say_what_the_base_says() -> None:
    """All were measured with an engine that answers alike."""
    known = read_all()
    base = {(found.set, found.base, found.user): found for found in known if found.method == "base"}
    won = [found for found in known if found.method in ("milp", "random") and found.layers is None]
    for found in won:
        same = base[found.set, found.base, found.user]
        assert (found.rouge_l, found.persona_f1, found.loss) == (same.rouge_l, same.persona_f1, same.loss)


def test_what_was_trained_as_an_earlier_search_chose_goes_with_it(tmp_path: Path) -> None:
    results = tmp_path / "results"
    chose = [row(user, "milp", 1.0, layers="01", n=1, r=8, trial=3) for user in "ab"]
    depend = [row(user, method, 2.0) for user in "ab" for method in ("milp_memory", "other_user", "random")]
    other_seed = row("a", "other_user", 2.0, seed=1)
    merge(run(tmp_path / "one", *chose, *depend, other_seed), results)
    before = read_all(results)
    # The same choice, measured again, leaves all as it is.
    merge(run(tmp_path / "two", chose[0]), results)
    assert read_all(results) == before

    another, own = replace(chose[0], layers="11", trial=7), row("b", "other_user", 5.0)
    merge(run(tmp_path / "three", another, own), results)
    assert [(kept.user, kept.method, kept.seed) for kept in read_all(results)] == [
        ("a", "milp", 0),
        ("b", "milp", 0),
        ("b", "milp_memory", 0),
        ("a", "other_user", 1),
        ("b", "other_user", 0),
        ("a", "random", 0),
        ("b", "random", 0),
    ]


@pytest.mark.parametrize("made", [{"options": "o2"}, {"history": "h2"}, {"weights": "w2"}])
def test_a_choice_that_is_trained_otherwise_is_another_choice(tmp_path: Path, made: dict[str, str]) -> None:
    results = tmp_path / "results"
    chose = row("a", "milp", 1.0, layers="01", n=1, r=8, trial=1, options="o1", history="h1", weights="w1")
    merge(run(tmp_path / "one", chose, row("a", "milp_memory", 2.0), row("b", "other_user", 2.0)), results)
    merge(run(tmp_path / "two", replace(chose, **made)), results)
    assert [kept.method for kept in read_all(results)] == ["milp"]


def test_a_baseline_that_answers_otherwise_is_so_for_every_seed(tmp_path: Path) -> None:
    results = tmp_path / "results"
    seeds = [row(user, "base", 1.0, seed=seed) for user in "ab" for seed in (0, 1)]
    merge(run(tmp_path / "one", *seeds), results)
    merge(run(tmp_path / "two", row("a", "base", 1.0), row("b", "base", 3.0)), results)
    found = [(kept.user, kept.seed, kept.rouge_l) for kept in read_all(results)]
    assert found == [("a", 0, 1.0), ("a", 1, 1.0), ("b", 0, 3.0)]


def test_what_was_said_of_answers_goes_with_them(tmp_path: Path) -> None:
    results, folder = tmp_path / "results", run(tmp_path / "one", row("a", "milp", 2.0), row("a", "base", 1.0))
    said = [Judgement("ubuntu_irc", "small", "a", seed, 0, "milp", "base", ["first"] * 2, "judge") for seed in (0, 1)]
    for given in said:
        append_judgement(folder, given)
    pair = {"pair": list(said[0].pair_key), "swapped": False}
    (folder / labels.KEY).write_text(json.dumps({"1": pair}))
    (folder / labels.SHEET).write_text("item,query,answer_a,answer_b,better\n1,q,x,y,A\n")
    merge(folder, results)

    merge(run(tmp_path / "alike", row("a", "base", 1.0, seconds=9.0)), results)
    assert (read_judged(results), len(read_labelled(results))) == (said, 1)
    merge(run(tmp_path / "unlike", row("a", "milp", 2.5)), results)
    assert (read_judged(results), read_labelled(results)) == ([said[1]], [])
    merge(folder, results)
    assert (read_judged(results), len(read_labelled(results))) == (said, 1)


def test_what_people_said_is_kept_and_stands_beside_the_judges_win_rate(tmp_path: Path) -> None:
    results, folder = tmp_path / "results", run(tmp_path / "one", row("a", "milp", 2.0), row("a", "base", 1.0))
    key = {}
    for sample, better in enumerate(["first", "second"]):
        append_judgement(
            folder, Judgement("ubuntu_irc", "small", "a", 0, sample, "milp", "base", [better] * 2, "judge")
        )
        pair = ["ubuntu_irc", "small", "a", "0", str(sample), "milp", "base"]
        key[str(sample + 1)] = {"pair": pair, "swapped": False}
    (folder / labels.KEY).write_text(json.dumps(key))
    sheet = "item,query,answer_a,answer_b,better\n1,a private question,x,y,A\n2,a private question,x,y,A\n"
    (folder / labels.SHEET).write_text(sheet)

    assert results / "labels" / "ubuntu_irc.json" in merge(folder, results)
    assert "private" not in (results / "labels" / "ubuntu_irc.json").read_text()
    assert [(said.set, said.better) for said in read_labelled(results)] == [("ubuntu_irc", "first")] * 2
    (tmp_path / "evaluation").mkdir()
    for document in ("README.md", "evaluation/README.md"):
        (tmp_path / document).write_text(f"{documents.BEGIN}\n{documents.END}\n")
    made = documents.documents(results, tmp_path)[tmp_path / "evaluation" / "README.md"]
    assert "50 %" in made
    assert "No people's labels are there" not in made


def test_what_searches_tried_is_kept_beside_the_rows_each_search_once(tmp_path: Path) -> None:
    results = tmp_path / "results"
    first, again = (search("a", [trial("01", loss, 1 / 3)], winner=0) for loss in (2.0, 1.0))
    merge(run(tmp_path / "one", first, search("b", [], winner=0)), results)
    assert merge(run(tmp_path / "two", again), results) == [results / "searches" / "ubuntu_irc.json"]
    found = read_searches(results)
    assert [(one.user, [t["loss"] for t in one.trials]) for one in found] == [("a", [1.0]), ("b", [])]
    assert found[0].trials[0]["rouge_l"] == 0.333333
    assert read_all(results) == []


def test_merging_the_same_run_again_changes_no_byte(tmp_path: Path) -> None:
    results, folder = tmp_path / "results", run(tmp_path / "one", row("b", "milp", 1 / 3), row("a", "milp", 2 / 3))
    (path,) = merge(folder, results)
    before = path.read_bytes()
    merge(folder, results)
    assert path.read_bytes() == before


def test_each_set_has_a_file_whatever_it_is_called(tmp_path: Path) -> None:
    results = tmp_path / "results"
    merge(run(tmp_path / "one", row("a", "base", 1.0, set="../../other set"), row("a", "base", 1.0, set="b")), results)
    assert sorted(path.name for path in results.iterdir()) == ["-..-other-set.json", "b.json"]
    assert [found.set for found in read_all(results)] == ["../../other set", "b"]
    assert file_name("..") == "set"


def test_judgements_are_kept_beside_the_rows(tmp_path: Path) -> None:
    folder, results = run(tmp_path / "one", row("a", "base", 1.0)), tmp_path / "results"
    given = Judgement("ubuntu_irc", "small", "a", 0, 0, "milp", "base", ["first", "tie"], "judge")
    append_judgement(folder, given)
    merge(folder, results)
    merge(folder, results)
    assert read_judged(results) == [given]
    assert len(read_all(results)) == 1


def test_a_runs_lines_of_another_version_are_refused_by_name(tmp_path: Path) -> None:
    folder = run(tmp_path / "one", row("a", "base", 1.0))
    path = folder / "rows.jsonl"
    path.write_text(path.read_text().replace('"loss"', '"colour"'))
    with pytest.raises(
        ValueError, match=r"rows\.jsonl was not written by this version \(.*colour.*begin another folder"
    ):
        merge(folder, tmp_path / "results")


def test_nothing_of_a_run_is_merged_where_a_part_of_it_cannot_be_read(tmp_path: Path) -> None:
    folder = run(tmp_path / "one", row("a", "base", 1.0))
    (folder / "searches.jsonl").write_text('{"colour": "red"}\n')
    with pytest.raises(ValueError, match=r"searches\.jsonl was not written by this version"):
        merge(folder, tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("beside", ["searches", "judged", "labels"])
def test_nothing_is_merged_into_results_that_cannot_be_read(tmp_path: Path, beside: str) -> None:
    results = tmp_path / "results"
    (written,) = merge(run(tmp_path / "one", row("a", "base", 1.0)), results)
    before = written.read_bytes()
    (results / beside).mkdir(exist_ok=True)
    (results / beside / written.name).write_text("[")
    with pytest.raises(ValueError, match=rf"{beside}/{written.name} is no JSON"):
        merge(run(tmp_path / "two", row("a", "base", 2.0)), results)
    assert written.read_bytes() == before


def test_a_file_of_another_shape_is_refused_and_no_folder_is_no_rows(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('[\n{"set": "s", "colour": "red"}\n]\n')
    with pytest.raises(ValueError, match=r"s\.json does not hold rows"):
        read_all(tmp_path)
    (tmp_path / "searches").mkdir()
    (tmp_path / "s.json").rename(tmp_path / "searches" / "s.json")
    with pytest.raises(ValueError, match=r"searches/s\.json does not hold lines"):
        read_searches(tmp_path)
    assert read_all(tmp_path / "nowhere") == []


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "grid.json").write_text('{"trials": 24}')
    with pytest.raises(ValueError, match=r"grid.json is no file of results: copy those"):
        read_all(tmp_path)
