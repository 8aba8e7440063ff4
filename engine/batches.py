"""Tokenised samples, and batches of them laid end to end.

Knows ids and places; must not know stacks or optimisers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from engine.prompts import Message, PromptFormat


@dataclass(frozen=True, slots=True)
class Example:
    """One sample as ids: the prompt, then the response with its end token."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.response)


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples end to end, without a padded token.

    Attributes:
        ids: 1-d, every token of every example.
        lengths: tokens of each example.
        before_target: 1-d, the places in `ids` whose next token carries loss.
        targets: 1-d, those next tokens.
        weights: 1-d, what each of their losses counts for in the batch's; one in all.
        example: 1-d, which example each of them belongs to.
    """

    ids: Tensor
    lengths: tuple[int, ...]
    before_target: Tensor
    targets: Tensor
    weights: Tensor
    example: Tensor

    @classmethod
    def end_to_end(cls, batches: Sequence[Batch]) -> Batch:
        """Several batches as one, whose targets keep their weights."""
        if len(batches) == 1:
            return batches[0]
        tokens = [0, *accumulate(len(batch.ids) for batch in batches)]
        examples = [0, *accumulate(len(batch.lengths) for batch in batches)]
        return cls(
            torch.cat([batch.ids for batch in batches]),
            tuple(length for batch in batches for length in batch.lengths),
            torch.cat([batch.before_target + first for batch, first in zip(batches, tokens, strict=False)]),
            torch.cat([batch.targets for batch in batches]),
            torch.cat([batch.weights for batch in batches]),
            torch.cat([batch.example + first for batch, first in zip(batches, examples, strict=False)]),
        )

    def to(self, device: torch.device) -> Batch:
        moved = (t.to(device) for t in (self.ids, self.before_target, self.targets, self.weights, self.example))
        ids, before_target, targets, weights, example = moved
        return Batch(ids, self.lengths, before_target, targets, weights, example)


def encode_example(form: PromptFormat, messages: Sequence[Message], response: str, max_tokens: int) -> Example:
    """One sample as ids, at most `max_tokens` in all: a long prompt loses its beginning, a long response its end.

    The response may take half of the tokens before the prompt has to give way.
    """
    answer = form.response_ids(response)
    prompt = form.prompt_ids(messages, max_tokens - min(len(answer), max_tokens // 2), cut=True)
    return Example(tuple(prompt), tuple(answer[: max(1, max_tokens - len(prompt))]))


def lay_out(examples: Sequence[Example], prompt_loss_weight: float = 0.0) -> Batch:
    """Put examples end to end.

    Args:
        prompt_loss_weight: what the mean loss of all prompts' tokens counts for beside that of all responses'; at 0
            prompts carry no loss.
    """
    ids: list[int] = []
    places: list[int] = []
    rows: list[int] = []
    in_response: list[bool] = []
    for row, example in enumerate(examples):
        # Nothing foretells the first token of a prompt.
        unforeseen = 1 if prompt_loss_weight else len(example.prompt)
        places += range(len(ids) + unforeseen - 1, len(ids) + example.length - 1)
        in_response += [False] * (len(example.prompt) - unforeseen) + [True] * len(example.response)
        rows += [row] * (example.length - unforeseen)
        ids += example.prompt + example.response
    all_ids, before_target = torch.tensor(ids), torch.tensor(places)
    return Batch(
        all_ids,
        tuple(example.length for example in examples),
        before_target,
        all_ids[before_target + 1],
        _weights(torch.tensor(in_response), prompt_loss_weight),
        torch.tensor(rows),
    )


def _weights(in_response: Tensor, prompt_loss_weight: float) -> Tensor:
    """Of targets that are in responses or in prompts: one in all, evenly shared within each kind."""
    responses = int(in_response.sum())
    prompts = len(in_response) - responses
    of_prompts = prompt_loss_weight / (1 + prompt_loss_weight) if prompts else 0.0
    return torch.where(in_response, (1 - of_prompts) / responses, of_prompts / max(1, prompts))
