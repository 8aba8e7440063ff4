"""A whole run on tiny models: every method, resumed, repeated, refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.measure.grid import METHODS, Cell, Grid, SetOf
from evaluation.measure.run import GRID_FILE, Run, RunError
from evaluation.rows import Row, SearchRecord, read
from tests.evaluation.measure.people_files import write_people
from tests.support.families import save_tiny_model


class Silent:
    """A listener that only counts."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def begins(self, cell: Cell) -> None: ...

    def trials(self, done: int) -> None: ...

    def ends(self, cell: Cell, said: str) -> None:  # noqa: ARG002 - a Listener
        self.ended.append(f"{cell.user} {cell.method}")


def grid_of(tmp_path: Path, family: str, **changes: Any) -> Grid:
    people = write_people(tmp_path / "people.jsonl", *changes.pop("people", ["ada", "bob"]))
    base = tmp_path / "tiny"
    if not base.exists():
        save_tiny_model(family, base)
    options = {"max_seconds": None, "epochs": 2, **changes.pop("options", {})}
    values = {"sets": [SetOf(name="people", paths=[people])], "bases": [str(base)], "trials": 3, "options": options}
    return Grid.model_validate(values | changes)


def measure(grid: Grid, folder: Path) -> list[str]:
    listener = Silent()
    with Run(grid, folder) as run:
        assert run.measure(listener) == []
    return listener.ended


def by_cell(folder: Path) -> dict[tuple[str, str], Row]:
    return {(row.user, row.method): row for row in read(folder, Row)}


def test_every_method_is_measured_once_and_says_what_it_cost(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    measure(grid_of(tmp_path, "llama"), folder)
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


def test_rows_measured_before_are_not_measured_again_and_serve_the_controls(tmp_path: Path) -> None:
    methods = ["base", "milp", "milp_memory", "other_user"]
    grid = grid_of(tmp_path, "llama", methods=methods)
    measure(grid, tmp_path / "first")
    known = [row for row in read(tmp_path / "first", Row) if row.method in ("base", "milp")]
    with Run(grid, tmp_path / "second") as run:
        assert run.adopt([replace(row, per_sample={}) for row in known]) == 4
        assert run.adopt(known) == 0
        listener = Silent()
        assert run.measure(listener) == []
    assert sorted(listener.ended) == ["ada milp_memory", "ada other_user", "bob milp_memory", "bob other_user"]
    first, second = by_cell(tmp_path / "first"), by_cell(tmp_path / "second")
    for key in ((user, method) for user in ("ada", "bob") for method in ("milp_memory", "other_user")):
        assert second[key].per_sample == first[key].per_sample
        assert second[key].loss == first[key].loss


def test_the_control_answers_with_the_stack_of_the_next_user(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    measure(grid_of(tmp_path, "llama", methods=["milp", "other_user"]), folder)
    found = by_cell(folder)

    for user, next_user in (("ada", "bob"), ("bob", "ada")):
        own, other = found[next_user, "milp"], found[user, "other_user"]
        assert (other.layers, other.n, other.r, other.parameters) == (own.layers, own.n, own.r, own.parameters)


def test_a_run_goes_on_where_it_was_and_gives_the_same_numbers(tmp_path: Path) -> None:
    grid, folder = grid_of(tmp_path, "llama", methods=["base", "default_lora", "milp"]), tmp_path / "run"
    measure(grid, folder)
    everything = read(folder, Row)
    lines = (folder / Row.FILE).read_text().splitlines(keepends=True)
    (folder / Row.FILE).write_text("".join(lines[:3]) + lines[3][:40])

    assert measure(grid, folder) == ["bob base", "bob default_lora", "bob milp"]
    again = {row.key: row for row in read(folder, Row)}
    for row in everything:
        assert again[row.key].per_sample == row.per_sample
    assert measure(grid, folder) == []


@pytest.mark.slow  # that a run gone on with gives the same numbers is tested beside it
def test_the_same_grid_and_seeds_measure_the_same_in_another_folder(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, "llama", methods=["default_lora", "milp"], people=["ada"])
    for name in ("one", "two"):
        measure(grid, tmp_path / name)
    one, two = (by_cell(tmp_path / name) for name in ("one", "two"))
    for key, row in one.items():
        assert (two[key].layers, two[key].loss, two[key].per_sample) == (row.layers, row.loss, row.per_sample)


def test_a_method_that_draws_nothing_is_measured_once_and_written_for_every_seed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    measure(grid_of(tmp_path, "llama", methods=["base"], seeds=[0, 7]), folder)
    rows = [row for row in read(folder, Row) if row.user == "ada"]
    assert [row.seed for row in rows] == [0, 7]
    assert rows[0].per_sample == rows[1].per_sample


@pytest.mark.parametrize("family", ["gpt2", "roberta"])
def test_bases_of_other_families_are_measured_too(tmp_path: Path, family: str) -> None:
    folder = tmp_path / "run"
    measure(grid_of(tmp_path, family, methods=["base", "malp", "default_lora", "milp"], people=["ada"]), folder)
    assert len(by_cell(folder)) == 4


def test_less_history_is_what_the_search_learns_from_and_the_test_part_stays(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    measure(grid_of(tmp_path, "llama", methods=["milp"], people=["ada"], sensitivity={"history": [0.5]}), folder)
    rows = {row.variant: row for row in read(folder, Row)}
    assert (rows[""].train, rows[""].test) == (12, 4)
    less = rows["history=0.5"]
    assert (less.train, less.validation, less.test) == (6, 2, 4)


@pytest.mark.parametrize("other", [{"trials": 5}, {"options": {"epochs": 3}}])
def test_a_folder_with_a_run_that_measures_otherwise_is_not_touched(tmp_path: Path, other: dict[str, Any]) -> None:
    folder = tmp_path / "run"
    measure(grid_of(tmp_path, "llama", methods=["base"]), folder)
    before = [(folder / name).read_bytes() for name in (Row.FILE, GRID_FILE)]
    with pytest.raises(RunError, match="holds a run of other sets, bases or options"):
        Run(grid_of(tmp_path, "llama", **{"methods": ["base"], **other}), folder)
    assert [(folder / name).read_bytes() for name in (Row.FILE, GRID_FILE)] == before


def test_methods_and_seeds_are_added_to_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    measure(grid_of(tmp_path, "llama", methods=["base"]), folder)
    measure(grid_of(tmp_path, "llama", methods=["malp"], seeds=[0, 1]), folder)
    found = sorted((row.method, row.seed) for row in read(folder, Row) if row.user == "ada")
    assert found == [("base", 0), ("malp", 0), ("malp", 1)]


def test_a_grid_may_name_a_preset_of_its_own(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, "llama", methods=["base"], options={"preset": "quick"})
    measure(grid, tmp_path / "run")
    assert len(read(tmp_path / "run", Row)) == 2


def test_other_settings_in_the_environment_are_another_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid, folder = grid_of(tmp_path, "llama", methods=["base"]), tmp_path / "run"
    measure(grid, folder)
    monkeypatch.setenv("MILP_LABEL_SMOOTHING", "0.3")
    with pytest.raises(RunError, match="with other settings"):
        Run(grid, folder)


def test_what_cannot_be_measured_is_said_and_the_rest_is_measured(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, "llama", methods=["other_user", "base"])
    with Run(grid, tmp_path / "run") as run:
        problems = run.measure(Silent())
    assert len(problems) == 2
    assert "other_user needs the method milp" in problems[0]
    assert [row.method for row in read(tmp_path / "run", Row)] == ["base", "base"]
