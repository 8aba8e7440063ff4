"""Tokenised samples, and batches of them with little padding.

Knows ids and masks; must not know stacks or optimisers.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

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
    """Examples padded on the right.

    Attributes:
        ids: rows x tokens.
        is_response: rows x tokens - 1; True where the next token belongs to the response, so carries loss.
    """

    ids: Tensor
    is_response: Tensor

    def repeated(self, times: int) -> Batch:
        """The same rows `times` over, for as many candidates side by side."""
        return Batch(self.ids.repeat(times, 1), self.is_response.repeat(times, 1))


def encode_example(form: PromptFormat, messages: Sequence[Message], response: str, max_tokens: int) -> Example:
    """One sample as ids, at most `max_tokens` in all: a long prompt loses its beginning, a long response its end.

    The response may take half of the tokens before the prompt has to give way.
    """
    answer = form.response_ids(response)
    prompt = form.prompt_ids(messages, max_tokens - min(len(answer), max_tokens // 2), cut=True)
    return Example(tuple(prompt), tuple(answer[: max(1, max_tokens - len(prompt))]))


def pad(examples: Sequence[Example], pad_id: int, device: torch.device) -> Batch:
    """Put examples into one batch as long as the longest of them."""
    width = max(example.length for example in examples)
    ids = torch.full((len(examples), width), pad_id)
    is_response = torch.zeros((len(examples), width - 1), dtype=torch.bool)
    for row, example in enumerate(examples):
        ids[row, : example.length] = torch.tensor(example.prompt + example.response)
        is_response[row, len(example.prompt) - 1 : example.length - 1] = True
    return Batch(ids.to(device), is_response.to(device))


def epoch_batches(examples: Sequence[Example], batch_size: int, rng: random.Random) -> list[list[Example]]:
    """One pass over the examples: neighbours in length share a batch, batches come in random order.

    Ties and near-ties of length are broken at random, so that each pass mixes its batches anew.
    """
    order = sorted(examples, key=lambda example: example.length * rng.uniform(0.95, 1.05))
    batches = [list(order[i : i + batch_size]) for i in range(0, len(order), batch_size)]
    rng.shuffle(batches)
    return batches
