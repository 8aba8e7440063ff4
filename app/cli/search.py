"""A job's trials as the picture and the page show them. Plain data; draws nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

ORIGINS = {"base": "the base", "default": "default LoRA", "initial": "initial", "proposed": "proposed"}


@dataclass(frozen=True)
class Trial:
    """One trial; scores are validation means with standard errors, and None where it failed or was stopped early."""

    number: int
    origin: str
    layers: str
    n: int
    r: int
    state: str
    loss: float | None
    loss_se: float
    rouge_l: float | None
    rouge_l_se: float
    parameters: int
    seconds: float | None
    stopped_after: int | None
    error: str
    on_front: bool
    is_winner: bool

    @property
    def cells(self) -> tuple[bool, ...]:
        """One flag per layer: whether it carries LoRAs."""
        return tuple(bit == "1" and self.n > 0 for bit in self.layers)

    @property
    def size(self) -> str:
        """n and r in words; the base has none."""
        return f"{self.n} × {self.r}" if any(self.cells) else "–"


@dataclass(frozen=True)
class Search:
    """All trials of a job, by number."""

    trials: tuple[Trial, ...]

    @property
    def scored(self) -> tuple[tuple[Trial, float, float], ...]:
        """The trials that have scores, each with its loss and ROUGE-L."""
        return tuple((t, t.loss, t.rouge_l) for t in self.trials if t.loss is not None and t.rouge_l is not None)

    @property
    def winner(self) -> Trial:
        return next(trial for trial in self.trials if trial.is_winner)

    @classmethod
    def of(cls, job: Json, trials: list[Json]) -> Search:
        """From a succeeded job and its trials, as the API gives them."""
        front = set(job["report"]["pareto"])
        winner = job["report"]["winner"]["trial"]
        return cls(tuple(_trial(row, front, winner) for row in sorted(trials, key=lambda row: int(row["number"]))))


def _trial(row: Json, front: set[int], winner: int) -> Trial:
    return Trial(
        number=row["number"],
        origin=row["origin"],
        layers=row["layers"],
        n=row["n"],
        r=row["r"],
        state=row["state"],
        loss=row["loss"],
        loss_se=row["loss_se"] or 0.0,
        rouge_l=row["rouge_l"],
        rouge_l_se=row["rouge_l_se"] or 0.0,
        parameters=row["parameters"] or 0,
        seconds=row["seconds"],
        stopped_after=row["stopped_after"],
        error=(row["error"] or {}).get("detail", ""),
        on_front=row["number"] in front,
        is_winner=row["number"] == winner,
    )
