"""A whole run on tiny models: every method, resumed, repeated, refused."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlmodel import select

from app.database import Database
from app.repositories import history
from app.tables import Job
from evaluation.measure.grid import METHODS, Grid, SetOf
from evaluation.measure.run import Run
from evaluation.measure.scores import answer_test
from evaluation.measure.searches import TENANT
from evaluation.names import SPACES
from evaluation.rows import Row, SearchRecord, read
from tests.evaluation.measure.people_files import turn_round, write_people
from tests.evaluation.measure.runs import Silent, by_cell, few_trainings, grid_of, measure
from tests.support.families import save_tiny_model


@dataclass(frozen=True)
class Whole:
    """A grid of all methods, and a folder where it was measured to its end."""

    grid: Grid
    folder: Path

    def copied(self, to: Path) -> Path:
        """A folder of a test's own, to go on with."""
        shutil.copytree(self.folder, to)
        return to

    def with_only(self, *methods: str, **changes: Any) -> Grid:
        return Grid.model_validate(self.grid.model_dump() | {"methods": methods} | changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Measured once for all tests that look at it, for it takes a while. Do not measure in its folder."""
    folder = tmp_path_factory.mktemp("whole")
    grid = grid_of(folder, "llama")
    with pytest.MonkeyPatch.context() as patch:
        few_trainings(patch)
        measure(grid, folder / "run")
    return Whole(grid, folder / "run")


def test_every_method_is_measured_once_and_says_what_it_cost(whole: Whole) -> None:
    folder = whole.folder
    found = by_cell(folder)

    assert set(found) == {(user, method) for user in ("ada", "bob") for method in METHODS}
    for row in found.values():
        assert (row.set, row.base, row.train, row.validation, row.test) == ("people", "tiny", 12, 4, 4)
        assert len(row.per_sample["rouge_l"]) == 4
        assert row.rouge_l == pytest.approx(sum(row.per_sample["rouge_l"]) / 4)
    base, dictionary = found["ada", "base"], found["ada", "dictionary_memory"]
    assert (base.parameters, base.bytes, base.trials, base.activated) == (0, 0, None, None)
    assert dictionary.prompt_tokens > base.prompt_tokens
    assert dictionary.bytes > 0
    default = found["ada", "default_lora"]
    assert (default.layers, default.n, default.r) == ("111", 1, 16)
    assert default.bytes in (2 * default.parameters, 4 * default.parameters)
    averaged = found["ada", "default_averaged"]
    assert (averaged.layers, averaged.n, averaged.r, averaged.bytes) == (default.layers, 1, 16, default.bytes)
    assert averaged.loss != default.loss
    assert found["ada", "milp"].trials == 3
    assert found["ada", "milp"].activated is not None
    assert {(record.user, record.method) for record in read(folder, SearchRecord)} == {
        (user, method) for user in ("ada", "bob") for method in ("milp", "random")
    }


@pytest.mark.slow  # whole searches, a quarter of a minute
def test_random_search_beside_milp_is_the_one_it_is_alone(tmp_path: Path) -> None:
    # What they share is the initial design: its trials are run once.
    options = {"trials": 5, "people": ["ada"]}
    for name, methods in (("beside", ["milp", "random"]), ("alone", ["random"])):
        measure(grid_of(tmp_path, "llama", methods=methods, **options), tmp_path / name)
    milp, beside = read(tmp_path / "beside", SearchRecord)
    (alone,) = read(tmp_path / "alone", SearchRecord)

    def scores(record: SearchRecord) -> list[tuple[Any, ...]]:
        return [(t["number"], t["origin"], t["layers"], t["n"], t["r"], t["loss"]) for t in record.trials]

    assert scores(beside) == scores(alone)
    assert scores(beside)[:3] == scores(milp)[:3]
    one, other = (by_cell(tmp_path / name)["ada", "random"] for name in ("beside", "alone"))
    assert one.per_sample == other.per_sample


def test_rows_measured_before_are_not_measured_again_and_serve_the_controls(whole: Whole, tmp_path: Path) -> None:
    known = [row for row in read(whole.folder, Row) if row.method in ("base", "milp")]
    with Run(whole.with_only("base", "milp", "milp_memory", "other_user"), tmp_path / "second") as run:
        tried = [search for search in read(whole.folder, SearchRecord) if search.method == "milp"]
        assert len(run.adopt([replace(row, per_sample={}) for row in known], read(whole.folder, SearchRecord))) == 4
        assert read(tmp_path / "second", SearchRecord) == tried
        assert run.adopt(known) == []
        listener = Silent()
        assert run.measure(listener) == []
    assert sorted(listener.ended) == ["ada milp_memory", "ada other_user", "bob milp_memory", "bob other_user"]
    first, second = by_cell(whole.folder), by_cell(tmp_path / "second")
    for key in ((user, method) for user in ("ada", "bob") for method in ("milp_memory", "other_user")):
        assert second[key].per_sample == first[key].per_sample
        assert second[key].loss == first[key].loss


def test_a_history_that_the_service_refuses_is_told_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILP_MAX_HISTORY_SAMPLES", "19")
    with Run(grid_of(tmp_path, "llama", methods=["milp", "random"], people=["ada"]), tmp_path / "run") as run:
        problems = run.measure(Silent())
    assert [problem.split(": ")[0] for problem in problems] == ["ada of people, milp", "ada of people, random"]
    assert read(tmp_path / "run", Row) == []


def test_the_control_answers_with_the_stack_of_the_next_user(whole: Whole) -> None:
    found = by_cell(whole.folder)

    for user, next_user in (("ada", "bob"), ("bob", "ada")):
        own, other = found[next_user, "milp"], found[user, "other_user"]
        assert (other.layers, other.n, other.r, other.parameters) == (own.layers, own.n, own.r, own.parameters)


def test_a_run_goes_on_where_it_was_and_gives_the_same_numbers(whole: Whole, tmp_path: Path) -> None:
    folder = whole.copied(tmp_path / "run")
    everything = read(folder, Row)
    lines = (folder / Row.FILE).read_text().splitlines(keepends=True)
    kept = next(i for i, row in enumerate(everything) if (row.user, row.method) == ("bob", "milp"))
    (folder / Row.FILE).write_text("".join(lines[:kept]) + lines[kept][:40])

    assert measure(whole.grid, folder) == [f"{row.user} {row.method}" for row in everything[kept:]]
    again = {row.key: row for row in read(folder, Row)}
    for row in everything:
        assert again[row.key].per_sample == row.per_sample
    assert measure(whole.grid, folder) == []


def test_the_same_grid_and_seeds_measure_the_same_in_another_folder_whatever_the_environment_names(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A database and a store that are the service's are left alone, and whoever else is in the grid changes nothing.
    for name in ("database", "store"):
        monkeypatch.setenv(f"MILP_{name.upper()}_URL", f"nosuch://{name}")
    measure(grid_of(tmp_path, "llama", methods=["default_lora", "milp"], people=["ada"]), tmp_path / "run")
    one, two = by_cell(whole.folder), by_cell(tmp_path / "run")
    assert set(two) == {("ada", "default_lora"), ("ada", "milp")}
    assert (tmp_path / "run" / "searches").is_dir()
    for key, row in two.items():
        assert (row.layers, row.loss, row.per_sample) == (one[key].layers, one[key].loss, one[key].per_sample)


def test_a_method_that_draws_nothing_is_measured_once_and_written_for_every_seed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    measure(grid_of(tmp_path, "llama", methods=["base"], seeds=[0, 7]), folder)
    rows = [row for row in read(folder, Row) if row.user == "ada"]
    assert [row.seed for row in rows] == [0, 7]
    assert rows[0].per_sample == rows[1].per_sample


@pytest.mark.parametrize("family", ["gpt2", "roberta"])
def test_bases_of_other_families_are_measured_too(tmp_path: Path, family: str) -> None:
    folder, methods = tmp_path / "run", ["base", "malp", "default_lora", "milp", "milp_memory"]
    measure(grid_of(tmp_path, family, methods=methods, people=["ada"]), folder)
    found = by_cell(folder)
    assert {method for _, method in found} == set(methods)
    assert all(0.0 < row.loss < 20.0 for row in found.values())
    base, default = found["ada", "base"], found["ada", "default_lora"]
    assert (base.parameters, base.layers) == (0, None)
    # Layers of this base were trained: the answers' loss is another, and lower on what people keep saying.
    assert default.layers == "1" * len(default.layers or "")
    assert default.parameters > 0
    assert default.loss < base.loss


def test_one_run_measures_several_sets_and_bases_and_each_row_says_which(tmp_path: Path) -> None:
    sets = [SetOf(name=name, paths=[write_people(tmp_path / f"{name}.jsonl", name)]) for name in ("left", "right")]
    bases = [str(save_tiny_model(family, tmp_path / family)) for family in ("llama", "gpt2")]
    grid = Grid.model_validate({"sets": sets, "bases": bases, "methods": ["base", "default_lora"]})
    measure(grid, tmp_path / "run")
    rows = read(tmp_path / "run", Row)
    assert sorted((row.set, row.user, row.base, row.method) for row in rows) == [
        (name, name, base, method)
        for name in ("left", "right")
        for base in ("gpt2", "llama")
        for method in ("base", "default_lora")
    ]
    assert len({row.loss for row in rows}) == len(rows)


def test_less_history_is_what_is_learned_and_remembered_and_the_test_part_and_its_words_stay(
    whole: Whole, tmp_path: Path
) -> None:
    folder = whole.copied(tmp_path / "run")
    less = whole.with_only("base", "malp", "milp", sensitivity={"history": [0.5]})
    assert measure(less, folder) == ["ada malp", "ada milp", "bob malp", "bob milp"]
    rows = {(row.method, row.variant): row for row in read(folder, Row) if row.user == "ada"}
    assert (rows["milp", ""].train, rows["milp", ""].test) == (12, 4)
    for method in ("malp", "milp"):
        row = rows[method, "history=0.5"]
        assert (row.train, row.validation, row.test) == (6, 2, 4)
    assert {key for key in rows if key[1]} == {("malp", "history=0.5"), ("milp", "history=0.5")}


@pytest.mark.slow  # a search for each of seven spaces
def test_an_ablation_searches_each_subspace_and_leaves_what_is_outside_it_as_the_default_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_trainings(monkeypatch)
    # A tiny base's own limit leaves room for one LoRA of the default rank, and no number to search.
    monkeypatch.setenv("MILP_MAX_TOTAL_RANK", "64")
    grid = grid_of(tmp_path, "llama", methods=["milp"], people=["ada"], ablation=True, trials=5)
    measure(grid, tmp_path / "run")
    found = {record.variant: record.trials for record in read(tmp_path / "run", SearchRecord)}
    assert set(found) == {"", *(f"space={space}" for space in SPACES)}
    assert {row.variant for row in read(tmp_path / "run", Row)} == set(found)
    columns = {"num": "n", "size": "r", "layer": "layers"}
    for variant, trials in found.items():
        trained = [trial for trial in trials if trial["number"] > 0]  # 0 is the base
        varied = {name for name, column in columns.items() if len({trial[column] for trial in trained}) > 1}
        searched = set(variant.removeprefix("space=").split("+")) if variant else set(columns)
        assert varied, variant
        assert varied <= searched, variant


def test_persona_f1_asks_for_the_words_of_the_whole_history_however_much_was_learned(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, "llama", methods=["malp"], people=["ada"], sensitivity={"history": [0.5]})
    with Run(grid, tmp_path / "run") as run:
        whole, less = run.todo()
        methods = run.methods(less)
        assert methods.whole(less) == methods.person(whole)
        assert methods.person(less).split.train != methods.whole(less).split.train
        run.measure(Silent())
        answered = answer_test(
            methods.base, None, methods.answering(less).prompt, methods.whole(less), methods.settings
        )
    row = next(row for row in read(tmp_path / "run", Row) if row.variant)
    assert row.per_sample["persona_f1"] == answered.persona_f1


def test_what_a_control_trains_again_of_another_user_is_what_was_published_for_them(
    whole: Whole, tmp_path: Path
) -> None:
    with Run(whole.grid, whole.copied(tmp_path / "run")) as run:
        cells = {(cell.user, cell.method): cell for cell in whole.grid.cells({"people": ["ada", "bob"]})}
        methods = run.methods(cells["bob", "milp"])
        published = methods.answering(cells["bob", "milp"]).stack
        again = methods.answering(cells["ada", "other_user"]).stack
    assert published is not None
    assert again is not None
    assert again.configuration == published.configuration
    for name, tensor in published.a.items():
        torch.testing.assert_close(again.a[name].to(tensor), tensor, rtol=0, atol=0)
        torch.testing.assert_close(again.b[name].to(tensor), published.b[name], rtol=0, atol=0)


def test_a_history_that_is_not_in_time_order_is_split_by_time_and_no_test_sample_is_learned(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, "llama", methods=["milp"], people=["ada"])
    turn_round(tmp_path / "people.jsonl")
    measure(grid, tmp_path / "run")
    (file,) = (tmp_path / "run" / "searches").glob("*/milp.sqlite3")
    database = Database(f"sqlite:///{file}")
    with database.read() as session:
        (job,) = session.exec(select(Job)).all()
        parts = {
            part: [row.query for row in history.samples_by_ids(session, TENANT, (job.split or {})[part])]
            for part in ("train", "validation", "test")
        }
    database.dispose()
    days = {part: [int(query.rsplit(" ", 1)[1].rstrip("?")) for query in queries] for part, queries in parts.items()}
    assert days == {"train": [*range(12)], "validation": [12, 13, 14, 15], "test": [16, 17, 19, 18]}


def test_rows_of_another_history_other_weights_or_other_options_are_not_taken_over(
    whole: Whole, tmp_path: Path
) -> None:
    found = by_cell(whole.folder)
    base, milp = found["ada", "base"], found["ada", "milp"]
    with Run(whole.with_only("base", "milp"), tmp_path / "second") as run:
        unlike = [replace(base, **{name: "0" * 12}) for name in ("history", "weights")]
        assert run.adopt([*unlike, replace(milp, options="0" * 12), replace(base, history="", weights="")]) == []
        assert run.adopt([replace(base, options="0" * 12)]) == []
        assert run.adopt([base, milp]) == [base, milp]


def test_beside_another_choice_of_milp_the_memorys_row_is_not_taken_over(whole: Whole, tmp_path: Path) -> None:
    found = by_cell(whole.folder)
    milp, memory = found["ada", "milp"], found["ada", "milp_memory"]
    unlike = replace(milp, layers="100" if milp.layers != "100" else "010")
    with Run(whole.with_only("milp", "milp_memory"), tmp_path / "second") as run:
        assert run.adopt([memory]) == []
        assert run.adopt([memory, unlike]) == [unlike]
        assert run.adopt([memory]) == []
    with Run(whole.with_only("milp", "milp_memory"), tmp_path / "third") as run:
        assert run.adopt([milp]) == [milp]
        assert run.adopt([memory]) == [memory]


def test_a_grid_may_name_a_preset_of_its_own(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, "llama", methods=["base"], options={"preset": "quick"})
    measure(grid, tmp_path / "run")
    assert len(read(tmp_path / "run", Row)) == 2


def test_what_cannot_be_measured_is_said_and_the_rest_is_measured(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, "llama", methods=["other_user", "base"])
    with Run(grid, tmp_path / "run") as run:
        problems = run.measure(Silent())
    assert len(problems) == 2
    assert "other_user needs the method milp" in problems[0]
    assert [row.method for row in read(tmp_path / "run", Row)] == ["base", "base"]
