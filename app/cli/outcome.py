"""A finished job's report as the terminal and the HTML page both show it. Plain data; knows neither of them.

The shape it reads is the job's `report` (see the REST API): winner, gate, test scores per method, sizes, Pareto front.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """A score in the report: its key, how it is called and printed, and whether more is better."""

    key: str
    title: str
    digits: int
    more_is_better: bool


METRICS = (
    Metric("rouge_1", "ROUGE-1", 1, True),
    Metric("rouge_l", "ROUGE-L", 1, True),
    Metric("persona_f1", "Persona F1", 2, True),
    Metric("loss", "Loss", 2, False),
)
METHODS = {
    "base": "Base",
    "memory": "Memory prompt",
    "default_lora": "Default LoRA (all layers, n=1, r=16)",
    "personalized": "Personalised",
}


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """One method's test scores, in the order of METRICS. `best` marks the best mean of each column."""

    method: str
    label: str
    scores: tuple[Interval, ...]
    best: tuple[bool, ...]


@dataclass(frozen=True)
class Outcome:
    """What a job found, in the words people read."""

    rows: tuple[Row, ...]
    test_size: int
    train_size: int
    validation_size: int
    gate_passed: bool
    activated: bool
    has_version: bool
    gate_in_words: str
    winner_in_words: str
    stop_reason: str

    @classmethod
    def of(cls, job: Json) -> Outcome:
        """The outcome of a succeeded job, as `GET /v1/jobs/{id}` gives it."""
        report = job["report"]
        gate = report.get("gate") or {}
        has_version = job.get("version_id") is not None
        return cls(
            rows=_rows(report["test"]),
            test_size=report["samples"]["test"],
            train_size=report["samples"]["train"],
            validation_size=report["samples"]["validation"],
            gate_passed=has_version and bool(gate["passed"]),
            activated=bool(report["activated"]),
            has_version=has_version,
            gate_in_words=_gate_in_words(gate, bool(report["activated"]), has_version),
            winner_in_words=_winner_in_words(report["winner"]),
            stop_reason=report["stop_reason"],
        )


def _rows(test: Json) -> tuple[Row, ...]:
    scores = {
        method: tuple(Interval(*(test[method][m.key][part] for part in ("mean", "low", "high"))) for m in METRICS)
        for method in METHODS
        if method in test
    }
    best = [
        (max if metric.more_is_better else min)(row[column].mean for row in scores.values())
        for column, metric in enumerate(METRICS)
    ]
    return tuple(
        Row(method, METHODS[method], row, tuple(cell.mean == top for cell, top in zip(row, best, strict=True)))
        for method, row in scores.items()
    )


def _gate_in_words(gate: Json, activated: bool, has_version: bool) -> str:
    if not has_version:
        return "Nothing to decide: the base itself won, so nothing was published."
    verdict = "Passed" if gate["passed"] else "Not passed"
    then = "it is active and answers from now on" if activated else "it is not active; what did better keeps answering"
    return f"{verdict}: the version is published, and {then}. {gate['reason']}"


def _winner_in_words(winner: Json) -> str:
    layers = str(winner["layers"])
    if winner["n"] == 0 or "1" not in layers:
        return f"Trial {winner['trial']}, the base itself. {winner['reason']}"
    size = f"{winner['n']} LoRA{'s' if winner['n'] != 1 else ''} of rank {winner['r']}"
    return f"Trial {winner['trial']}, {size} on {layers.count('1')} of {len(layers)} layers. {winner['reason']}"
