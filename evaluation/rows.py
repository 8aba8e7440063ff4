"""What an evaluation writes down: one row per user, method, seed and variant; one record per search. Numbers, no text.

Both are lines of JSON, appended as they are measured. Must not know how anything was measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from evaluation.lines import append_line, read_lines

R = TypeVar("R", "Row", "SearchRecord")


@dataclass(frozen=True)
class OfCell:
    """What is of one cell of a grid: one method measured for one user.

    Args:
        set: name of the file the user is from.
        base: name of the base model.
        method: see `evaluation.measure.methods`.
        variant: what differs from the standard grid, such as "space=layer" or "history=0.25"; empty: nothing.
    """

    set: str
    base: str
    user: str
    method: str
    seed: int
    variant: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """Of which cell; a run measures each once."""
        return self.set, self.base, self.user, self.method, self.variant, str(self.seed)


@dataclass(frozen=True, kw_only=True)
class Row(OfCell):
    """How one method answered one user's test part.

    Args:
        rouge_1, rouge_l, persona_f1: means over the test part, 0..100.
        loss: mean cross-entropy of the response's tokens, nats.
        length: mean words of a response.
        distinct_1, distinct_2: share of unlike words and word pairs in all responses together, 0..1 (Li et al., 2016).
        trials: what a search tried, the base included; None for a method without one.
        activated: whether the gate let it answer; None for a method without a gate.
        layers, n, r: the configuration that answered; None where no stack did.
        trial: the number of the trial that a search chose; 0 is the base. None without a search.
        passes: made over the train part by the stack that answered; None where no stack did.
        seconds: of learning and choosing, answering the test part left out.
        parameters: trained ones that answered.
        bytes: what is kept for the user.
        prompt_tokens: mean tokens of a prompt.
        train, validation, test: samples in each part.
        options: digest of the job options that what answered was trained and asked with (`evaluation.measure.methods`).
        history, weights: digests of the person's history as its parts were learned and asked, and of the base's folder.
        per_sample: ROUGE-L and Persona F1 of each test sample, in time order.
    """

    rouge_1: float
    rouge_l: float
    persona_f1: float
    loss: float
    length: float
    distinct_1: float
    distinct_2: float
    trials: int | None = None
    activated: bool | None = None
    layers: str | None = None
    n: int | None = None
    r: int | None = None
    trial: int | None = None
    passes: int | None = None
    seconds: float = 0.0
    parameters: int = 0
    bytes: int = 0
    prompt_tokens: float = 0.0
    train: int = 0
    validation: int = 0
    test: int = 0
    commit: str = ""
    options: str = ""
    history: str = ""
    weights: str = ""
    per_sample: dict[str, list[float]] = field(default_factory=dict)

    FILE: ClassVar[str] = "rows.jsonl"


@dataclass(frozen=True, kw_only=True)
class SearchRecord(OfCell):
    """One search: its trials by number, each with origin, state, layers, n, r, parameters, loss, rouge_l and their
    standard errors on validation, and its loss there after every pass it made; and the number of the one that won."""

    trials: list[dict[str, Any]]
    winner: int

    FILE: ClassVar[str] = "searches.jsonl"


def append(folder: Path, row: Row | SearchRecord) -> None:
    """Write one line into its file of the run's folder."""
    append_line(folder / row.FILE, row)


def read(folder: Path, kind: type[R]) -> list[R]:
    """All lines of one kind; none where nothing was written."""
    return read_lines(folder / kind.FILE, kind)
