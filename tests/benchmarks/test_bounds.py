"""Figures with bounds: what is written, and the line a run ends with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import bounds


def test_a_figure_on_its_bound_keeps_it_from_either_side() -> None:
    assert bounds.at_most("lost samples", 0, "samples", 0).held
    assert bounds.at_least("survived", 50, "runs", 50).held
    assert not bounds.at_most("lost samples", 1, "samples", 0).held
    assert not bounds.at_least("survived", 49, "runs", 50).held


def test_the_last_line_names_what_was_not_held() -> None:
    rows = [bounds.at_most("errors", 0, "requests", 0), bounds.at_most("p99", 61.2, "ms", 50)]

    assert bounds.in_one_line("load", rows) == "load: 1 of 2 bounds held; not held: p99 61.2 ms (bound 50)"
    assert bounds.in_one_line("load", rows[:1]) == "load: 1 of 1 bounds held"


def test_a_quick_run_says_so_in_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUICK", "1")
    path = bounds.write("load", "make load", [bounds.at_most("errors", 0, "requests", 0)], tmp_path)

    report = json.loads(path.read_text())
    assert path.name == "load.json"
    assert report["command"] == "QUICK=1 make load"
    assert report["rows"] == [{"what": "errors", "value": 0, "unit": "requests", "bound": 0, "held": True}]
