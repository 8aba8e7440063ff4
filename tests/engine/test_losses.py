"""The loss: of responses on held-out samples, of responses and of prompts at their weight while training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import fmean

import pytest
import torch
from torch.nn.functional import cross_entropy

from engine import losses
from engine.base import Base
from engine.batches import Example, encode_example, lay_out
from engine.grouped import Route
from engine.history import Sample
from engine.losses import encode_samples, example_losses, target_losses
from engine.lower_layers import LowerLayers
from engine.prompts import messages_for
from engine.training import Course, train_candidates
from tests.engine.test_training import CANDIDATE, HISTORY, SETTINGS


def test_the_loss_is_that_of_the_response_tokens_only(tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")
    example = encode_example(base.format, messages_for("one two three"), "four five", 64)
    longer = encode_example(base.format, messages_for("one two three four five six"), "seven", 64)

    with torch.inference_mode():
        batch = lay_out([example, longer])
        found, rows = target_losses(base, Route.base(), batch), batch.example
        ids = torch.tensor([example.prompt + example.response])
        expected = cross_entropy(base.model(input_ids=ids).logits[0, :-1], ids[0, 1:], reduction="none")

    assert rows.tolist() == [0] * len(example.response) + [1] * len(longer.response)
    assert torch.allclose(found[rows == 0], expected[-len(example.response) :], atol=1e-4)


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_prompts_are_learned_at_their_weight_beside_responses(weight: float, tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")
    settings = replace(SETTINGS, batch_size=2, epochs=1, prompt_loss_weight=weight)
    examples = encode_samples(base, HISTORY[:2], 128)

    first_step = train_candidates(base, [CANDIDATE], Course(HISTORY[:2], settings))[0].losses[0]

    prompts, responses = [], []
    for example in examples:
        ids = torch.tensor([example.prompt + example.response])
        with torch.inference_mode():
            each = cross_entropy(base.model(input_ids=ids).logits[0, :-1], ids[0, 1:], reduction="none").tolist()
        prompts += each[: len(example.prompt) - 1]
        responses += each[len(example.prompt) - 1 :]
    assert len(prompts) != len(responses)
    assert first_step == pytest.approx((fmean(responses) + weight * fmean(prompts)) / (1 + weight), abs=1e-4)


def test_smoothed_labels_are_learned_as_if_any_token_could_stand_there(tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")
    settings = replace(SETTINGS, batch_size=1, epochs=1, label_smoothing=0.2)
    (example,) = encode_samples(base, HISTORY[:1], 128)

    first_step = train_candidates(base, [CANDIDATE], Course(HISTORY[:1], settings))[0].losses[0]

    with torch.inference_mode():
        logits = base.model(input_ids=torch.tensor([example.prompt + example.response])).logits[0, :-1]
    chances = torch.log_softmax(logits, dim=-1)[len(example.prompt) - 1 :]
    true = fmean(chances[place, token].item() for place, token in enumerate(example.response))
    assert first_step == pytest.approx(-0.8 * true - 0.2 * chances.mean().item(), abs=1e-4)


def test_learning_prompts_too_makes_queries_likelier(tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")
    queries = [Sample("", sample.query) for sample in HISTORY]

    def loss_of_queries(weight: float) -> float:
        course = Course(HISTORY, replace(SETTINGS, prompt_loss_weight=weight))
        stack = train_candidates(base, [CANDIDATE], course)[0].stack
        assert stack is not None
        lower = LowerLayers(base, encode_samples(base, queries, 128))
        return fmean(example_losses(base, stack.a, stack.b, lower, CANDIDATE.configuration.active_layers[0]))

    assert loss_of_queries(1.0) < loss_of_queries(0.0) - 0.05


def test_a_weight_of_prompts_changes_nothing_where_prompts_are_a_single_token(tiny_base: Callable[[str], Base]) -> None:
    examples = [Example((5,), (6, 7, 1)), Example((9,), (8, 1))]

    with_prompts, without = lay_out(examples, 0.5), lay_out(examples)

    assert torch.equal(with_prompts.targets, without.targets)
    assert with_prompts.weights.tolist() == without.weights.tolist() == pytest.approx([0.2] * 5)


def test_many_logits_are_computed_some_at_a_time_and_teach_the_same(
    tiny_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, course = tiny_base("llama"), Course(HISTORY, replace(SETTINGS, prompt_loss_weight=0.3))
    at_once = train_candidates(base, [CANDIDATE], course)[0]
    monkeypatch.setattr(losses, "MOST_LOGITS", 7 * base.vocabulary_size)
    in_parts = train_candidates(base, [CANDIDATE], course)[0]

    assert in_parts.losses == pytest.approx(at_once.losses, abs=1e-4)
    assert at_once.stack is not None
    assert in_parts.stack is not None
    for name, b in at_once.stack.b.items():
        assert torch.allclose(b, in_parts.stack.b[name], atol=1e-4)
