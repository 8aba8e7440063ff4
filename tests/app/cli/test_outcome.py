"""A finished job's outcome in words and as a table on the terminal."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from app.cli.outcome import Outcome
from app.cli.tables import outcome_tables


def printed(job: dict[str, Any], width: int = 132) -> str:
    console = Console(width=width, file=io.StringIO())
    for part in outcome_tables("anna", job, width):
        console.print(part)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_the_table_has_a_row_for_each_method_with_means_and_intervals(job: dict[str, Any]) -> None:
    lines = printed(job).splitlines()
    row = next(line for line in lines if "Personalised" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        "Personalised",
        "23.4 [21.4, 25.4]",
        "18.1 [16.6, 19.6]",
        "2.90 [2.65, 3.15]",
        "2.42 [2.32, 2.52]",
    ]
    assert [
        method for method in ("Base", "Memory prompt", "Default LoRA") if any(method in line for line in lines)
    ] == [
        "Base",
        "Memory prompt",
        "Default LoRA",
    ]


def test_the_best_mean_of_a_column_is_the_highest_score_and_the_lowest_loss(job: dict[str, Any]) -> None:
    best = {row.method: row.best for row in Outcome.of(job).rows}
    assert best == {
        "base": (False, False, False, False),
        "memory": (False, False, False, False),
        "default_lora": (False, False, False, True),
        "personalized": (True, True, True, False),
    }


def test_a_passed_gate_says_that_the_version_answers(job: dict[str, Any]) -> None:
    words = Outcome.of(job).gate_in_words
    assert words.startswith("Passed: the version is published, and it is active")
    assert "+8.60 ROUGE-L" in words


def test_a_failed_gate_says_that_the_version_does_not_answer(job: dict[str, Any]) -> None:
    job["report"]["gate"]["passed"] = False
    job["report"]["activated"] = False
    assert "not active; what did better keeps answering" in Outcome.of(job).gate_in_words


def test_a_win_of_the_base_is_told_as_such(base_won: dict[str, Any]) -> None:
    outcome = Outcome.of(base_won)
    assert outcome.winner_in_words.startswith("Trial 0, the base itself.")
    assert outcome.gate_in_words == "Nothing to decide: the base itself won, so nothing was published."
    assert not outcome.gate_passed


def test_the_winner_is_told_by_its_size_and_layers(job: dict[str, Any]) -> None:
    assert "Winner: Trial 12, 4 LoRAs of rank 32 on 11 of 12 layers. Best lower bound" in printed(job)


def test_a_report_without_the_default_lora_has_no_row_for_it(job: dict[str, Any]) -> None:
    del job["report"]["test"]["default_lora"]
    assert [row.method for row in Outcome.of(job).rows] == ["base", "memory", "personalized"]


def test_a_narrow_terminal_shows_every_figure_whole(job: dict[str, Any]) -> None:
    shown = printed(job, width=80)
    assert "…" not in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    for figure in ("23.4", "[21.4, 25.4]", "2.90", "[2.65, 3.15]"):
        assert figure in shown
