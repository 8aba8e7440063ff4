"""Rows, search records and answers made by hand for tests, and users with numbers for names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.rows import Row, SearchRecord


def row(user: str, method: str, rouge_l: float, **other: Any) -> Row:
    """A row of which only ROUGE-L matters, unless more is said."""
    given: dict[str, Any] = {
        "set": "ubuntu_irc",
        "base": "small",
        "seed": 0,
        "rouge_1": rouge_l + 1,
        "persona_f1": rouge_l / 10,
        "loss": 3.0,
        "length": 8.0,
        "distinct_1": 0.5,
        "distinct_2": 0.75,
    }
    return Row(user=user, method=method, rouge_l=rouge_l, **{**given, **other})


def rows(method: str, rouge_l: Sequence[float], **other: Any) -> list[Row]:
    """One row for each of the users u0, u1, ..."""
    return [row(f"u{number}", method, score, **other) for number, score in enumerate(rouge_l)]


def trial(layers: str, loss: float | None, rouge_l: float | None, origin: str = "proposed") -> dict[str, Any]:
    state = "failed" if loss is None else "succeeded"
    scores = {"loss": loss, "rouge_l": rouge_l, "loss_se": 0.1, "rouge_l_se": 1.0}
    return {"origin": origin, "state": state, "layers": layers, "n": 1, "r": 8, "parameters": 100, **scores}


def search(user: str, trials: list[dict[str, Any]], winner: int, **other: Any) -> SearchRecord:
    given: dict[str, Any] = {"set": "ubuntu_irc", "base": "small", "method": "milp", "seed": 0, **other}
    return SearchRecord(user=user, trials=trials, winner=winner, **given)


def keep_answers(folder: Path, user: str, method: str, answers: list[str], **other: Any) -> None:
    """One line of a run's answers.jsonl."""
    line = {"set": "ubuntu_irc", "base": "small", "user": user, "method": method, "variant": "", "seed": 0}
    texts = {
        "answers": answers,
        "queries": [f"question {number}?" for number in range(len(answers))],
        "references": [f"reference {number}" for number in range(len(answers))],
    }
    with (folder / "answers.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({**line, **texts, **other}) + "\n")
