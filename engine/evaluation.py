"""How well stacks answer held-out samples: loss of the true response, and scores of the greedy one.

All stacks are scored on the same samples, in one group or in lanes (engine.lanes). Must not know trials or gates.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.base import Base
from engine.decoding import Row, generate
from engine.history import Sample
from engine.lanes import spread
from engine.losses import encode_samples, example_losses
from engine.lower_layers import LowerLayers
from engine.metrics import persona_f1, persona_words, rouge_1, rouge_l
from engine.prompts import Prompting, query_alone
from engine.stack import Stack


@dataclass(frozen=True)
class Evaluation:
    """One entry per sample, in the samples' order.

    Attributes:
        loss: mean cross-entropy of the response's tokens, nats.
        rouge_1, rouge_l, persona_f1: of the greedy response, 0 to 100.
        responses: the greedy responses.
        seconds: what scoring took, shared out among the stacks that were scored side by side.
    """

    loss: list[float]
    rouge_1: list[float]
    rouge_l: list[float]
    persona_f1: list[float]
    responses: list[str]
    seconds: float = field(default=0.0, compare=False)


class Examination:
    """Held-out samples, laid out once for all stacks that are scored on them. Threads may share it.

    Args:
        train: the train part of the history; with `profile` it gives the words of Persona F1.
        prompt: how queries are put.
    """

    def __init__(
        self,
        base: Base,
        samples: Sequence[Sample],
        *,
        train: Sequence[Sample],
        profile: str,
        max_new_tokens: int,
        max_sequence_tokens: int,
        prompt: Prompting = query_alone,
    ) -> None:
        self._base = base
        self._references = [sample.response for sample in samples]
        self._max_new_tokens = max_new_tokens
        room = base.context_length - max_new_tokens
        self._prompts = [base.format.prompt_ids(prompt(sample), room, cut=True) for sample in samples]
        self._lower = LowerLayers(base, encode_samples(base, samples, max_sequence_tokens, prompt))
        self._persona = persona_words([profile, *(text for s in train for text in (s.query, s.response))])

    def losses(
        self, stacks: Sequence[Stack | None], should_stop: Callable[[], bool] = lambda: False
    ) -> list[list[float]]:
        """Each stack's loss on each sample, nats a token; None is the base. A fraction of what `score` takes.

        Raises:
            TrainingStoppedError: `should_stop` said so.
        """
        return [_losses(self._base, stack, self._lower, should_stop) for stack in self._placed(stacks)]

    def score(
        self, stacks: Sequence[Stack | None], should_stop: Callable[[], bool] = lambda: False
    ) -> list[Evaluation]:
        """Score every stack (None is the base), answering with all of them side by side.

        Raises:
            TrainingStoppedError: `should_stop` said so.
        """
        base, began = self._base, time.perf_counter()
        placed = self._placed(stacks)
        losses = [_losses(base, stack, self._lower, should_stop) for stack in placed]
        rows = [[Row(prompt, stack, self._max_new_tokens) for prompt in self._prompts] for stack in placed]
        generate(base, [row for of_stack in rows for row in of_stack], should_stop=should_stop)
        responses = [[base.format.decode(row.tokens) for row in of_stack] for of_stack in rows]
        seconds = (time.perf_counter() - began) / max(1, len(stacks))
        return [
            _scored(loss, self._references, answers, self._persona, seconds)
            for loss, answers in zip(losses, responses, strict=True)
        ]

    def _placed(self, stacks: Sequence[Stack | None]) -> list[Stack | None]:
        base = self._base
        return [None if stack is None else stack.to(device=base.device, dtype=base.dtype) for stack in stacks]


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
    """Score every stack (None is the base) on the same samples; see `Examination`.

    Raises:
        TrainingStoppedError: `should_stop` said so.
    """
    examination = Examination(
        base,
        samples,
        train=train,
        profile=profile,
        max_new_tokens=max_new_tokens,
        max_sequence_tokens=max_sequence_tokens,
        prompt=prompt,
    )
    return spread(base, stacks, examination.score, should_stop)


def _losses(base: Base, stack: Stack | None, lower: LowerLayers, should_stop: Callable[[], bool]) -> list[float]:
    if stack is None or stack.configuration.is_base:
        return example_losses(base, {}, {}, lower, 0, should_stop)
    return example_losses(base, stack.a, stack.b, lower, stack.configuration.active_layers[0], should_stop)


def _scored(
    loss: list[float], references: Sequence[str], responses: list[str], persona: frozenset[str], seconds: float
) -> Evaluation:
    return Evaluation(
        loss=loss,
        rouge_1=[rouge_1(r, a) for r, a in zip(references, responses, strict=True)],
        rouge_l=[rouge_l(r, a) for r, a in zip(references, responses, strict=True)],
        persona_f1=[persona_f1(a, persona) for a in responses],
        responses=responses,
        seconds=seconds,
    )
