"""What a run's folder says it measures, and which runs may go on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from evaluation.measure.claim import GRID_FILE, RunError
from evaluation.measure.grid import read_grid
from evaluation.measure.run import Run
from evaluation.rows import Row, read
from tests.evaluation.measure.people_files import write_people
from tests.evaluation.measure.runs import grid_of, measure


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"trials": 5}, "job_options, trials"),
        ({"options": {"epochs": 3}}, "job_options, options"),
        ({"people": ["ada", "eve"]}, "histories"),
    ],
)
def test_a_folder_with_a_run_that_measures_otherwise_is_not_touched(
    tmp_path: Path, other: dict[str, Any], said: str
) -> None:
    folder = tmp_path / "run"
    measure(grid_of(tmp_path, "llama", methods=["base"]), folder)
    before = [(folder / name).read_bytes() for name in (Row.FILE, GRID_FILE)]
    with pytest.raises(RunError, match=rf"holds a run that measures otherwise \(other {said}\)"):
        Run(grid_of(tmp_path, "llama", **{"methods": ["base"], **other}), folder)
    assert [(folder / name).read_bytes() for name in (Row.FILE, GRID_FILE)] == before


def test_methods_and_seeds_are_added_to_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    measure(grid_of(tmp_path, "llama", methods=["base"]), folder)
    measure(grid_of(tmp_path, "llama", methods=["malp"], seeds=[0, 1]), folder)
    found = sorted((row.method, row.seed) for row in read(folder, Row) if row.user == "ada")
    assert found == [("base", 0), ("malp", 0), ("malp", 1)]


def test_a_runs_own_grid_makes_all_of_its_rows_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    measure(grid_of(tmp_path, "llama", methods=["malp"], sensitivity={"history": [0.5]}), folder)
    measure(grid_of(tmp_path, "llama", methods=["base"], seeds=[1]), folder)
    monkeypatch.chdir("/")
    measure(read_grid(folder / GRID_FILE), tmp_path / "again")
    first, again = ({row.key: row for row in read(at, Row)} for at in (folder, tmp_path / "again"))
    assert {key[3:] for key in first} == {("malp", "", "0"), ("malp", "history=0.5", "0"), ("base", "", "1")}
    assert first.keys() < again.keys()
    assert all(again[key].per_sample == row.per_sample for key, row in first.items())


def test_other_settings_in_the_environment_are_another_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid, folder = grid_of(tmp_path, "llama", methods=["base"]), tmp_path / "run"
    measure(grid, folder)
    monkeypatch.setenv("MILP_LABEL_SMOOTHING", "0.3")
    with pytest.raises(RunError, match=r"measures otherwise \(other job_options\)"):
        Run(grid, folder)


def test_a_run_is_not_made_again_with_other_settings_or_histories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    measure(grid_of(tmp_path, "llama", methods=["base"]), folder)
    again = read_grid(folder / GRID_FILE)
    monkeypatch.setenv("MILP_LEARNING_RATE", "0.0005")
    with pytest.raises(
        RunError, match=r"measured otherwise: job_options\.learning_rate 0\.004, here 0\.0005\. Set the"
    ):
        Run(again, tmp_path / "again", again=folder / GRID_FILE)
    monkeypatch.delenv("MILP_LEARNING_RATE")
    monkeypatch.setenv("MILP_SURROGATE", "ensemble_map_saas")
    with pytest.raises(RunError, match=r"job_options\.surrogate map_saas, here ensemble_map_saas\."):
        Run(again, tmp_path / "again", again=folder / GRID_FILE)
    monkeypatch.delenv("MILP_SURROGATE")
    write_people(tmp_path / "people.jsonl", "ada", "eve")
    with pytest.raises(RunError, match=r"measured otherwise: histories\.people \w{12}, here \w{12}\."):
        Run(again, tmp_path / "again", again=folder / GRID_FILE)
    assert not (tmp_path / "again").exists()


def test_where_last_digits_may_differ_a_run_made_again_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    measure(grid_of(tmp_path, "llama", methods=["base"]), folder)
    threads = torch.get_num_threads() + 1
    monkeypatch.setenv("MILP_TORCH_THREADS", str(threads))
    told: list[str] = []
    with Run(read_grid(folder / GRID_FILE), tmp_path / "again", told.append, folder / GRID_FILE):
        assert any("computed.threads" in said and said.endswith(f"here {threads}") for said in told)
