"""Rows of benchmarks: their arithmetic, their file, and the tables made of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import results_file, tables
from benchmarks.results_file import alone, compared, limited, read_all, slug, write


def test_more_of_a_rate_is_better_and_less_of_anything_else() -> None:
    assert compared("t", "tokens/s", [200.0], [100.0], "peer").ratio == 2.0
    assert compared("t", "ms", [50.0], [100.0], "peer").ratio == 2.0
    assert compared("t", "MiB", [200.0], [100.0], "peer").ratio == 0.5


def test_a_rows_ratio_is_of_the_medians_and_its_spread_of_the_pairs() -> None:
    row = compared("t", "s", [1.0, 2.0, 4.0], [4.0, 6.0, 2.0], "peer", target=1.5)
    assert (row.ours, row.peer, row.ratio, row.target) == (2.0, 4.0, 2.0, 1.5)
    assert row.spread == (0.5, 4.0)


def test_what_was_not_measured_equally_often_is_not_compared() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        compared("t", "s", [1.0, 2.0], [1.0], "peer")
    with pytest.raises(ValueError, match="no pairs"):
        compared("t", "s", [], [], "peer")


def test_a_limit_is_kept_from_a_ratio_of_one_on() -> None:
    row = limited("t", "ms", [25.0, 60.0, 20.0], 50.0)
    assert (row.ratio, row.target, row.peer_name) == (2.0, 1.0, "limit")
    assert row.spread == (50 / 60, 2.5)


def test_a_cost_too_small_to_measure_is_no_division_by_zero() -> None:
    assert compared("t", "ms", [0.0], [1.0], "peer").ratio == 1e6


def test_what_was_measured_once_has_no_spread() -> None:
    assert compared("t", "s", [1.0], [2.0], "peer").spread is None


def test_a_slug_is_a_file_name() -> None:
    assert slug("Intel(R) Xeon(R) CPU @ 2.20GHz") == "intel-r-xeon-r-cpu-2-20ghz"


def test_a_report_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESULTS", str(tmp_path))
    monkeypatch.delenv("QUICK", raising=False)
    found = [compared("t", "s", [1.0, 1.0], [3.0, 3.0], "peer")]
    path = write("some", "python -m benchmarks.some", found, threads=2)
    (tmp_path / "other.json").write_text(json.dumps({"rows": []}))
    (report,) = read_all(tmp_path)
    assert path == tmp_path / f"some-{slug(results_file.machine_name())}.json"
    (row,) = report["rows"]
    assert (row["ratio"], row["spread"], row["command"]) == (3.0, [3.0, 3.0], "python -m benchmarks.some")
    assert row["commit"].startswith(results_file.commit()[:7])


def test_a_quick_run_is_written_only_where_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUICK", "1")
    monkeypatch.delenv("RESULTS", raising=False)
    assert write("some", "command", [alone("t", "s", [1.0])]) is None
    monkeypatch.setenv("RESULTS", str(tmp_path))
    assert write("some", "command", [alone("t", "s", [1.0])]) is not None
    assert read_all(tmp_path)[0]["rows"][0]["command"] == "QUICK=1 command"


def test_the_documents_tables_are_those_of_the_committed_results() -> None:
    for path, text in tables.documents().items():
        assert path.read_text(encoding="utf-8") == text, "run `make bench-tables`"


def test_several_measures_beside_the_same_peers_are_one_table_a_line_for_each_peer() -> None:
    found = [
        compared("2 users", "tokens/s", [200.0, 200.0], [100.0, 50.0], "one", target=1.5),
        compared("2 users", "tokens/s", [200.0], [400.0], "other"),
        compared("2 users: wait", "ms", [5.0], [10.0], "one"),
        compared("2 users: wait", "ms", [5.0], [5.0], "other"),
        alone("something else", "ms", [7.0]),
    ]
    made = tables.in_tables([results_file.asdict(row) for row in found]).split("\n")
    assert made[0] == "| **2 users** | tokens/s | wait, ms |"
    assert made[2:5] == [
        "| ours | 200 | 5 |",
        "| one | 75 (2.67; 2 .. 4; target 1.5) | 10 (2) |",
        "| other | 400 (0.5) | 5 (1) |",
    ]
    assert made[-1] == "| something else | 7 ms |  |  |  |  |"


def test_the_short_table_has_the_targets_only_and_the_full_one_everything() -> None:
    goal, figure = limited("with a target", "ms", [25.0, 25.0], 50.0), alone("without", "ms", [0.01234])
    rows = [results_file.asdict(row) | {"commit": "abc", "command": "run"} for row in (goal, figure)]
    reports = [{"benchmark": "b", "machine": "m", "measured": "2026-01-01", "versions": {"torch": "2"}, "rows": rows}]
    assert "| with a target | 25 ms | 50 ms, limit | 2 | 2 .. 2 | 1 |" in tables.short(reports)
    assert "without" not in tables.short(reports)
    assert "| without | 0.0123 ms |  |  |  |  |" in tables.full(reports)


def test_a_document_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the lines"):
        tables.with_tables("# no table here", "table")
