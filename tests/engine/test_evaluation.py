"""Scoring stacks on held-out samples: the same for each alone and for all together."""

from __future__ import annotations

import pytest

from engine.base import Base
from engine.configuration import Configuration
from engine.errors import TrainingStoppedError
from engine.evaluation import Evaluation, evaluate_stacks
from engine.history import Sample
from engine.memory import MemoryPrompt
from engine.metrics import persona_f1, persona_words, rouge_1, rouge_l
from engine.stack import Stack
from tests.engine.conftest import random_stack

SAMPLES = [
    Sample("how are you?", "I am fine, thank you."),
    Sample("what is the matter with the engine of my old car?", "It needs oil."),
    Sample("good night", "Good night!"),
]
TRAIN = [Sample("how is the garden?", "The roses are in bloom, thank you."), Sample("and the cat?", "Asleep.")]


def evaluate(base: Base, stacks: list[Stack | None], **changes: object) -> list[Evaluation]:
    arguments: dict[str, object] = {
        "train": TRAIN,
        "profile": "likes roses",
        "max_new_tokens": 8,
        "max_sequence_tokens": 128,
        **changes,
    }
    return evaluate_stacks(base, stacks, SAMPLES, **arguments)  # type: ignore[arg-type]


def test_a_stack_scores_the_same_alone_and_with_others(small_base: Base) -> None:
    stacks: list[Stack | None] = [
        None,
        random_stack(small_base, Configuration((True,) * 12, 1, 8), seed=1),
        random_stack(small_base, Configuration((False,) * 11 + (True,), 4, 32), seed=2),
    ]
    together = evaluate(small_base, stacks)

    for stack, scores in zip(stacks, together, strict=True):
        alone = evaluate(small_base, [stack])[0]
        assert alone.responses == scores.responses
        assert alone.rouge_l == scores.rouge_l
        assert alone.loss == pytest.approx(scores.loss, abs=1e-4)
    assert len({tuple(scores.responses) for scores in together}) == 3


def test_scores_are_those_of_the_greedy_responses(small_base: Base) -> None:
    scores = evaluate(small_base, [None])[0]
    persona = persona_words(["likes roses", *(text for s in TRAIN for text in (s.query, s.response))])

    assert len(scores.loss) == len(scores.responses) == 3
    assert scores.rouge_1 == [rouge_1(s.response, r) for s, r in zip(SAMPLES, scores.responses, strict=True)]
    assert scores.rouge_l == [rouge_l(s.response, r) for s, r in zip(SAMPLES, scores.responses, strict=True)]
    assert scores.persona_f1 == [persona_f1(r, persona) for r in scores.responses]


def test_an_empty_stack_scores_as_the_base(small_base: Base) -> None:
    empty = Stack(Configuration.base(12), {}, {})
    base, none = evaluate(small_base, [None, empty])

    assert base == none


def test_a_memory_prompt_changes_loss_and_responses(small_base: Base) -> None:
    plain = evaluate(small_base, [None])[0]
    remembering = evaluate(small_base, [None], prompt=MemoryPrompt(TRAIN, "likes roses", 2))[0]

    assert remembering.loss != pytest.approx(plain.loss, abs=1e-3)


def test_a_memory_prompt_over_the_limit_still_scores_every_response(small_base: Base) -> None:
    long_memory = MemoryPrompt([Sample("garden " * 400, "roses " * 400)] * 3, "", 3)
    scores = evaluate(small_base, [None], prompt=long_memory)[0]

    assert all(loss > 0 for loss in scores.loss)


def test_scoring_stops_when_asked(small_base: Base) -> None:
    with pytest.raises(TrainingStoppedError):
        evaluate(small_base, [None], should_stop=lambda: True)
