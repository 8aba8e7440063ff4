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
        before_response: 1-d, the places in `ids` whose next token belongs to a response, so carries loss.
        targets: 1-d, those next tokens.
        example: 1-d, which example each of them belongs to.
    """

    ids: Tensor
    lengths: tuple[int, ...]
    before_response: Tensor
    targets: Tensor
    example: Tensor

    @classmethod
    def end_to_end(cls, batches: Sequence[Batch]) -> Batch:
        """Several batches as one."""
        if len(batches) == 1:
            return batches[0]
        tokens = [0, *accumulate(len(batch.ids) for batch in batches)]
        examples = [0, *accumulate(len(batch.lengths) for batch in batches)]
        return cls(
            torch.cat([batch.ids for batch in batches]),
            tuple(length for batch in batches for length in batch.lengths),
            torch.cat([batch.before_response + first for batch, first in zip(batches, tokens, strict=False)]),
            torch.cat([batch.targets for batch in batches]),
            torch.cat([batch.example + first for batch, first in zip(batches, examples, strict=False)]),
        )

    def to(self, device: torch.device) -> Batch:
        moved = (t.to(device) for t in (self.ids, self.before_response, self.targets, self.example))
        ids, before_response, targets, example = moved
        return Batch(ids, self.lengths, before_response, targets, example)


def encode_example(form: PromptFormat, messages: Sequence[Message], response: str, max_tokens: int) -> Example:
    """One sample as ids, at most `max_tokens` in all: a long prompt loses its beginning, a long response its end.

    The response may take half of the tokens before the prompt has to give way.
    """
    answer = form.response_ids(response)
    prompt = form.prompt_ids(messages, max_tokens - min(len(answer), max_tokens // 2), cut=True)
    return Example(tuple(prompt), tuple(answer[: max(1, max_tokens - len(prompt))]))


def lay_out(examples: Sequence[Example]) -> Batch:
    """Put examples end to end."""
    ids: list[int] = []
    before_response: list[int] = []
    rows: list[int] = []
    for row, example in enumerate(examples):
        first = len(ids) + len(example.prompt) - 1
        ids += example.prompt + example.response
        before_response += range(first, first + len(example.response))
        rows += [row] * len(example.response)
    all_ids, places = torch.tensor(ids), torch.tensor(before_response)
    lengths = tuple(example.length for example in examples)
    return Batch(all_ids, lengths, places, all_ids[places + 1], torch.tensor(rows))
