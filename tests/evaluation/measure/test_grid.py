"""What a grid's file says, and the order it is measured in."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import Settings
from evaluation.__main__ import GRIDS
from evaluation.measure.grid import Cell, Grid, GridError, SetOf, read_grid
from evaluation.measure.methods import options_of

USERS = {"a": ["a1", "a2"], "b": ["b1"]}


def grid(**changes: object) -> Grid:
    sets = [SetOf(name=name, paths=[Path(f"{name}.jsonl")]) for name in USERS]
    return Grid.model_validate({"sets": sets, "bases": ["hub/model"], "methods": ["base", "milp"], **changes})


def told(cells: list[Cell]) -> list[str]:
    return [f"{cell.seed} {cell.variant} {cell.user} {cell.method}" for cell in cells]


def test_seeds_come_one_after_another_and_sets_take_turns_user_by_user() -> None:
    cells = list(grid(seeds=[0, 1]).cells(USERS))
    assert told(cells[:6]) == [
        "0  a1 base",
        "0  a1 milp",
        "0  b1 base",
        "0  b1 milp",
        "0  a2 base",
        "0  a2 milp",
    ]
    assert [cell.seed for cell in cells] == [0] * 6 + [1] * 6


def test_controls_that_need_the_others_come_after_all_of_them() -> None:
    cells = list(grid(methods=["other_user", "milp", "domain_lora"]).cells(USERS))
    assert [cell.method for cell in cells] == ["milp"] * 3 + ["other_user", "domain_lora"] * 2
    assert {cell.user for cell in cells[3:]} == {"a1", "a2"}, "b1 is alone"


def test_the_memories_are_varied_in_how_much_they_remember() -> None:
    methods = ["base", "malp", "dictionary_memory", "default_lora", "milp", "random"]
    cells = grid(methods=methods, sensitivity={"history": [0.25], "trials": [8]}).cells(USERS)
    varied = {(cell.variant, cell.method) for cell in cells if cell.variant}
    assert varied == {("trials=8", "milp")} | {
        ("history=0.25", method) for method in ("dictionary_memory", "malp", "milp")
    }


def test_variants_of_a_search_are_of_milp_alone() -> None:
    chosen = grid(ablation=True, sensitivity={"history": [0.25], "epochs": [1]})
    assert chosen.variants() == [
        "",
        "space=num",
        "space=size",
        "space=layer",
        "space=num+size",
        "space=num+layer",
        "space=size+layer",
        "history=0.25",
        "epochs=1",
    ]
    assert {cell.method for cell in chosen.cells(USERS) if cell.variant} == {"milp"}


def test_a_method_or_seed_that_is_named_twice_is_measured_once() -> None:
    chosen = grid(seeds=[0, 0], methods=["milp", "base", "milp"])
    assert (chosen.seeds, chosen.methods) == ([0], ["milp", "base"])


def test_a_value_that_is_named_twice_is_one_variant() -> None:
    assert grid(sensitivity={"history": [0.5, 0.5, 0.50]}).variants() == ["", "history=0.5"]


def test_options_that_say_what_is_so_anyway_are_no_error() -> None:
    assert grid(options={"with_memory": False, "activate": "gate", "subspace": None}).options


def test_a_base_in_the_folder_one_is_in_has_that_folders_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(grid(bases=["."]).named_bases) == [tmp_path.name]


def test_paths_are_relative_to_the_file_and_a_folder_is_named_without_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    file = tmp_path / "g.toml"
    file.write_text('bases = ["model", "hub/name"]\n[[sets]]\nname = "s"\npaths = ["h.jsonl"]\n')
    read = read_grid(file)
    assert read.sets[0].paths == [tmp_path / "h.jsonl"]
    assert read.named_bases == {"model": str(tmp_path / "model"), "hub/name": "hub/name"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bases = [", "is no TOML"),
        ('bases = ["b"]', "sets: Field required"),
        ('bases = ["b"]\nmethods = ["magic"]\n[[sets]]\nname = "s"\npaths = ["p"]', "methods.0: Input should be"),
        ('bases = ["b"]\ncolour = 1\n[[sets]]\nname = "s"\npaths = ["p"]', "colour: Extra inputs"),
        ('bases = ["b"]\noptions = { colour = 1 }\n[[sets]]\nname = "s"\npaths = ["p"]', "options: colour: Extra"),
        ('bases = ["b"]\noptions = { seed = 1 }\n[[sets]]\nname = "s"\npaths = ["p"]', "options: seed is none of"),
        ('bases = ["b"]\noptions = { with_memory = true }\n[[sets]]\nname = "s"\npaths = ["p"]', "method milp_memory"),
        ('bases = ["b"]\noptions = { trials = 9 }\n[[sets]]\nname = "s"\npaths = ["p"]', "`trials` of the grid"),
        ('bases = ["b"]\noptions = { surrogate = "random" }\n[[sets]]\nname = "s"\npaths = ["p"]', "method random"),
        ('bases = ["b"]\nseeds = [-1]\n[[sets]]\nname = "s"\npaths = ["p"]', "seeds.0: Input should be greater"),
        ('bases = ["b"]\n[sensitivity]\nhistory = [2.0]\n[[sets]]\nname = "s"\npaths = ["p"]', "less than or equal"),
        ('bases = ["b", "b"]\n[[sets]]\nname = "s"\npaths = ["p"]', "two bases have the same name"),
        ('bases = ["b"]\n' + '[[sets]]\nname = "s"\npaths = ["p"]\n' * 2, "two sets have the same name"),
    ],
)
def test_a_file_that_is_no_grid_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "g.toml"
    file.write_text(text)
    with pytest.raises(GridError, match=said):
        read_grid(file)
    with pytest.raises(GridError, match="cannot be read"):
        read_grid(tmp_path / "none.toml")


def test_no_variant_of_the_full_grid_is_the_standard_one_again() -> None:
    full = read_grid(GRIDS / "full.toml")
    standard = options_of(full, Cell("s", "b", "u", "milp", 0)).resolve(Settings(_env_file=None))
    for variant in full.variants()[1:]:
        if not variant.startswith("history="):
            cell = Cell("s", "b", "u", "milp", 0, variant)
            assert options_of(full, cell).resolve(Settings(_env_file=None)) != standard, variant


def test_the_grids_that_come_with_the_repository_can_be_read() -> None:
    for name in ("examples.toml", "cut.toml", "full.toml"):
        read = read_grid(GRIDS / name)
        assert all(path.exists() for of in read.sets for path in of.paths)
        assert list(read.named_bases) == ["base_model"]
