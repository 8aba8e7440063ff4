"""A run whose process is killed within a search: the same command ends it, with the very rows."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from evaluation.measure.grid import Grid
from tests.evaluation.measure.runs import by_cell, grid_of

_CLAIMED = "select count(*) from steps where kind = 'evaluate' and state = 'claimed'"


def started(grid: Grid, folder: Path) -> subprocess.Popen[bytes]:
    """The command in a process of its own, whose leases run out soon and whose trials take a while."""
    told = folder.with_suffix(".toml")
    (people,) = grid.sets
    told.write_text(
        f'bases = ["{grid.bases[0]}"]\nmethods = ["milp"]\ntrials = {grid.trials}\noptions = {{ epochs = 20 }}\n'
        f'[[sets]]\nname = "{people.name}"\npaths = ["{people.paths[0]}"]\n'
    )
    env = os.environ | {"MILP_LEASE_SECONDS": "2", "MILP_HEARTBEAT_SECONDS": "0.2", "MILP_TRIAL_EPOCHS": "20"}
    return subprocess.Popen([sys.executable, "-m", "evaluation", str(told), "--out", str(folder)], env=env)


def trains(folder: Path) -> bool:
    """Whether a search of the run is at its trials."""
    for found in folder.glob("searches/*/milp.sqlite3"):
        with closing(sqlite3.connect(f"file:{found}?mode=ro", uri=True)) as database:
            try:
                return bool(database.execute(_CLAIMED).fetchone()[0])
            except sqlite3.OperationalError:  # not migrated yet
                return False
    return False


@pytest.mark.slow  # three processes that load a model and search
def test_a_run_that_was_killed_within_a_search_ends_with_the_rows_it_would_have_had(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, "llama", people=["ada"], trials=8)
    killed = started(grid, tmp_path / "killed")
    while not trains(tmp_path / "killed"):
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert trains(tmp_path / "killed"), "nobody holds a step any more"
    for name in ("killed", "whole"):
        assert started(grid, tmp_path / name).wait(timeout=300) == 0
    again, whole = (by_cell(tmp_path / name)["ada", "milp"] for name in ("killed", "whole"))
    assert (again.per_sample, again.loss, again.trial) == (whole.per_sample, whole.loss, whole.trial)
