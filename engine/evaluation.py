"""How well stacks answer held-out samples: loss of the true response, and scores of the greedy one.

All stacks are scored on the same samples, in one group or in lanes (engine.lanes). Must not know trials or gates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.base import Base
from engine.decoding import Row, generate
from engine.history import Sample
from engine.lanes import spread
from engine.losses import encode_samples, example_losses
from engine.lower_layers import LowerLayers
from engine.metrics import persona_f1, persona_words, rouge_1, rouge_l
from engine.prompts import Message, Prompting, query_alone
from engine.stack import Stack


@dataclass(frozen=True)
class Evaluation:
    """One entry per sample, in the samples' order.

    Attributes:
        loss: mean cross-entropy of the response's tokens, nats.
        rouge_1, rouge_l, persona_f1: of the greedy response, 0 to 100.
        responses: the greedy responses.
    """

    loss: list[float]
    rouge_1: list[float]
    rouge_l: list[float]
    persona_f1: list[float]
    responses: list[str]


def evaluate_stacks(
    base: Base,
    stacks: Sequence[Stack | None],
    samples: Sequence[Sample],
    *,
    train: Sequence[Sample],
    profile: str,
    max_new_tokens: int,
    max_sequence_tokens: int,
    prompt: Prompting = query_alone,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Evaluation]:
    """Score every stack (None is the base) on the same samples.

    Args:
        train: the train part of the history; with `profile` it gives the words of Persona F1.
        prompt: how queries are put.

    Raises:
        TrainingStoppedError: `should_stop` said so.
    """
    prompts = [prompt(sample) for sample in samples]
    lower = LowerLayers(base, encode_samples(base, samples, max_sequence_tokens, prompt))
    persona = persona_words([profile, *(text for s in train for text in (s.query, s.response))])

    def work(group: Sequence[Stack | None], should_stop: Callable[[], bool]) -> list[Evaluation]:
        placed = [None if stack is None else stack.to(device=base.device, dtype=base.dtype) for stack in group]
        losses = [_losses(base, stack, lower, should_stop) for stack in placed]
        responses = _responses(base, placed, prompts, max_new_tokens, should_stop)
        return [_score(loss, answers, samples, persona) for loss, answers in zip(losses, responses, strict=True)]

    return spread(base, stacks, work, should_stop)


def _losses(base: Base, stack: Stack | None, lower: LowerLayers, should_stop: Callable[[], bool]) -> list[float]:
    if stack is None or stack.configuration.is_base:
        return example_losses(base, {}, {}, lower, 0, should_stop)
    return example_losses(base, stack.a, stack.b, lower, stack.configuration.active_layers[0], should_stop)


def _responses(
    base: Base,
    stacks: Sequence[Stack | None],
    prompts: Sequence[Sequence[Message]],
    max_new_tokens: int,
    should_stop: Callable[[], bool],
) -> list[list[str]]:
    """Greedy response to each prompt by each stack: stacks x prompts."""
    room = base.context_length - max_new_tokens
    ids = [base.format.prompt_ids(messages, room, cut=True) for messages in prompts]
    rows = [[Row(prompt, stack, max_new_tokens) for prompt in ids] for stack in stacks]
    generate(base, [row for of_stack in rows for row in of_stack], should_stop=should_stop)
    return [[base.format.decode(row.tokens) for row in of_stack] for of_stack in rows]


def _score(loss: list[float], responses: list[str], samples: Sequence[Sample], persona: frozenset[str]) -> Evaluation:
    references = [s.response for s in samples]
    return Evaluation(
        loss=loss,
        rouge_1=[rouge_1(r, a) for r, a in zip(references, responses, strict=True)],
        rouge_l=[rouge_l(r, a) for r, a in zip(references, responses, strict=True)],
        persona_f1=[persona_f1(a, persona) for a in responses],
        responses=responses,
    )
