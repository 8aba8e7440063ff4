"""The gate's verdict: by the validation part, and by a second one where that leaves it open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.tables import Job
from engine.base import Base
from engine.evaluation import Evaluation, evaluate_stacks
from engine.memory import MemoryPrompt
from engine.prompts import query_alone
from engine.training import Course, TrainedCandidate, train_candidates
from tests.workers.helpers import samples
from tests.workers.steps.publishing import default_wins, published
from workers.context import Context
from workers.search.gate import GateDecision, decide
from workers.steps.measure import Measure

QUERIES = [sample.query for sample in samples()]
TRAIN, VALIDATION = QUERIES[:12], QUERIES[12:16]
OTHER_HELD_OUT = QUERIES[8:12]


@pytest.fixture(autouse=True)
def averages_of_two(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    default_wins(monkeypatch)
    context.settings = context.settings.model_copy(update={"averaged": 2})


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """What a publish step does with which samples, in order."""
    told: list[tuple[str, list[str]]] = []
    ask = Measure.memory

    def train(base: Base, candidates: Any, course: Course, **named: Any) -> list[TrainedCandidate]:
        told.append(("learned", [sample.query for sample in course.train]))
        return train_candidates(base, candidates, course, **named)

    def asked(measure: Measure, held_out: Sequence[Any], known: Sequence[Any]) -> Evaluation:
        told.append(("asked", [sample.query for sample in held_out]))
        return ask(measure, held_out, known)

    for step in ("rehearsal", "publish"):
        monkeypatch.setattr(f"workers.steps.{step}.train_candidates", train)
    monkeypatch.setattr(Measure, "memory", asked)
    return told


def publish_with(context: Context, monkeypatch: pytest.MonkeyPatch, *, is_open: bool) -> tuple[Job, list[Any]]:
    """A job whose gate finds its first decision open or not; and the scores of winner, base and memory that it was
    shown each time."""
    shown: list[Any] = []

    def watched(*scores: Any) -> GateDecision:
        shown.append(scores[:3])
        return replace(decide(*scores), is_open=is_open)

    monkeypatch.setattr("workers.steps.verdict.decide", watched)
    return published(context), shown


def test_what_validation_decides_needs_one_rehearsal_which_learns_no_validation_text(
    context: Context, monkeypatch: pytest.MonkeyPatch, told: list[tuple[str, list[str]]]
) -> None:
    job, shown = publish_with(context, monkeypatch, is_open=False)
    assert told == [
        ("learned", TRAIN),
        ("asked", VALIDATION),
        ("learned", QUERIES[:16]),
        ("asked", QUERIES[16:]),
    ]
    assert [len(winner) for winner, _, _ in shown] == [4]
    assert (job.report or {})["gate"]["samples"] == 4


def test_what_validation_leaves_open_is_decided_with_as_many_samples_that_nothing_was_chosen_by(
    context: Context, monkeypatch: pytest.MonkeyPatch, told: list[tuple[str, list[str]]]
) -> None:
    job, shown = publish_with(context, monkeypatch, is_open=True)
    assert told == [
        ("learned", TRAIN),
        ("asked", VALIDATION),
        ("learned", [*QUERIES[:8], *VALIDATION]),
        ("asked", OTHER_HELD_OUT),
        ("learned", QUERIES[:16]),
        ("asked", QUERIES[16:]),
    ]
    assert [len(winner) for winner, _, _ in shown] == [4, 8]
    gate = (job.report or {})["gate"]
    assert gate["samples"] == 8
    assert "on 8 held-out samples" in gate["reason"]


def test_each_is_compared_on_both_parts_with_what_would_answer_there(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (first, both) = publish_with(context, monkeypatch, is_open=True)
    assert [scores[:4] for scores in both] == list(first)
    held_out, known = samples()[8:12], [*samples()[:8], *samples()[12:16]]
    memory = MemoryPrompt(known, "Keeps a garden.", context.settings.memory_pairs)
    for prompt, scores in ((query_alone, both[1]), (memory, both[2])):
        (base,) = evaluate_stacks(
            context.base,
            [None],
            held_out,
            train=known,
            profile="Keeps a garden.",
            max_new_tokens=context.settings.max_new_tokens,
            max_sequence_tokens=context.settings.max_sequence_tokens,
            prompt=prompt,
        )
        assert scores[4:] == base.rouge_l
