"""Answering rows of many users in one batch: each exactly as it would be alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from engine.base import Base
from engine.configuration import Configuration
from engine.decoding import DecodingBatch, Row, Sampling, generate
from engine.errors import TrainingStoppedError
from engine.prompts import messages_for
from engine.stack import Stack
from tests.engine.conftest import random_stack
from tests.support.families import CONFIGS

QUERIES = [
    "hello",
    "what is the weather like today in the old town by the river?",
    "why",
    "tell me a story about a cat and a dog who went to the sea and came back",
    "and then?",
]


def five_stacks(base: Base) -> list[Stack | None]:
    half = (False,) * (base.n_layers - 1) + (True,)
    return [
        random_stack(base, Configuration((True,) * base.n_layers, 1, 8), seed=1),
        None,
        random_stack(base, Configuration(half, 3, 16), seed=2),
        random_stack(base, Configuration((True,) * base.n_layers, 2, 32), seed=3),
        None,
    ]


def rows_for(base: Base, stacks: list[Stack | None], new_tokens: int = 12) -> list[Row]:
    return [
        Row(base.format.prompt_ids(messages_for(query)), stack, new_tokens)
        for query, stack in zip(QUERIES, stacks, strict=True)
    ]


@pytest.mark.parametrize("family", CONFIGS)
def test_rows_of_five_users_answer_in_one_batch_as_each_does_alone(
    family: str, tiny_base: Callable[[str], Base]
) -> None:
    base = tiny_base(family)
    stacks = five_stacks(base)
    together = rows_for(base, stacks, new_tokens=24)
    generate(base, together)

    for row, alone in zip(together, rows_for(base, stacks, new_tokens=24), strict=True):
        generate(base, [alone])
        assert row.tokens == alone.tokens
        assert row.finish_reason == alone.finish_reason


def test_on_the_trained_base_five_users_answer_as_each_does_alone_and_differ(small_base: Base) -> None:
    stacks = five_stacks(small_base)
    together = rows_for(small_base, stacks)
    generate(small_base, together)
    as_base = rows_for(small_base, [None] * 5)
    generate(small_base, as_base)

    for i, alone in enumerate(rows_for(small_base, stacks)):
        generate(small_base, [alone])
        assert together[i].tokens == alone.tokens
        assert (together[i].tokens == as_base[i].tokens) == (stacks[i] is None)


@pytest.mark.parametrize("family", CONFIGS)
def test_a_row_without_a_stack_takes_the_models_own_most_likely_tokens(
    family: str, tiny_base: Callable[[str], Base]
) -> None:
    base = tiny_base(family)
    row = Row(base.format.prompt_ids(messages_for(QUERIES[3])), None, 20)
    generate(base, [row])

    ids = list(row.prompt)
    with torch.inference_mode():
        for token in row.tokens:
            # The whole sequence anew each time, without cache or padding: the model as its authors wrote it.
            assert token == int(base.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            ids.append(token)


def test_rows_that_join_late_and_leave_early_change_nothing_for_the_others(small_base: Base) -> None:
    stacks = five_stacks(small_base)
    expected = rows_for(small_base, stacks)
    for row in expected:
        generate(small_base, [row])

    rows = rows_for(small_base, stacks)
    rows[0].max_new_tokens = 3
    batch = DecodingBatch(small_base)
    batch.admit(rows[:2])
    batch.step()
    batch.admit(rows[2:4])
    batch.step()
    left = batch.release_finished()
    batch.admit(rows[4:])
    while batch.rows:
        batch.step()
        left += batch.release_finished()

    assert left[0] is rows[0]
    assert rows[0].tokens == expected[0].tokens[:3]
    assert [row.tokens for row in rows[1:]] == [row.tokens for row in expected[1:]]


def test_more_rows_than_places_are_all_answered(small_base: Base) -> None:
    stacks = five_stacks(small_base)
    one_by_one, few_places = rows_for(small_base, stacks), rows_for(small_base, stacks)
    generate(small_base, one_by_one, max_rows=1)
    generate(small_base, few_places, max_rows=2)

    assert [row.tokens for row in few_places] == [row.tokens for row in one_by_one]
    assert all(row.finish_reason for row in few_places)


def test_sampling_repeats_with_its_seed_and_varies_without(tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")
    prompt = base.format.prompt_ids(messages_for(QUERIES[1]))

    def sample(seed: int | None) -> list[int]:
        row = Row(prompt, None, 16, Sampling(temperature=1.5, top_p=0.95, seed=seed))
        generate(base, [row])
        return row.tokens

    assert sample(7) == sample(7)
    assert len({tuple(sample(None)) for _ in range(4)}) > 1


def test_a_tiny_nucleus_samples_the_most_likely_token(small_base: Base) -> None:
    prompt = small_base.format.prompt_ids(messages_for(QUERIES[1]))
    greedy, nucleus = Row(prompt, None, 8), Row(prompt, None, 8, Sampling(temperature=1.0, top_p=1e-9))
    generate(small_base, [greedy, nucleus])

    assert nucleus.tokens == greedy.tokens


@pytest.mark.parametrize(
    "odd", [Sampling(2.0, top_p=5e-324), Sampling(5e-324), Sampling(1e-30, top_p=0.5)], ids=lambda odd: str(odd)
)
def test_a_nucleus_or_temperature_of_nearly_nothing_is_greedy_and_fails_nobody(small_base: Base, odd: Sampling) -> None:
    """In float32 they are 0, and the answers beside would fail as well."""
    prompt = small_base.format.prompt_ids(messages_for(QUERIES[1]))
    greedy, extreme = Row(prompt, None, 8), Row(prompt, None, 8, odd)
    generate(small_base, [greedy, extreme])

    assert extreme.tokens == greedy.tokens


def test_numbers_that_overflow_fail_no_answer() -> None:
    row = Row([1], None, 8, Sampling(temperature=1.0))

    assert row.choose(torch.tensor([0.0, float("nan"), 1.0])) in (0, 1, 2)
    assert row.choose(torch.tensor([0.0, float("inf"), 1.0])) == 1


def test_prompts_that_are_too_many_for_one_forward_are_read_in_several(
    small_base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks = five_stacks(small_base)
    at_once, in_parts = rows_for(small_base, stacks), rows_for(small_base, stacks)
    generate(small_base, at_once)
    most = max(len(row.prompt) for row in in_parts) + 5
    monkeypatch.setattr("engine.decoding.PROMPT_TOKENS", most)
    read: list[int] = []
    forward = small_base.hidden_states
    monkeypatch.setattr(
        small_base, "hidden_states", lambda ids, *a, **k: read.append(ids.shape[1]) or forward(ids, *a, **k)
    )
    generate(small_base, in_parts)

    assert [row.tokens for row in in_parts] == [row.tokens for row in at_once]
    assert max(read) <= most
    assert sum(length > 1 for length in read) > 1


def test_generating_stops_when_asked(tiny_base: Callable[[str], Base]) -> None:
    base = tiny_base("llama")

    with pytest.raises(TrainingStoppedError):
        generate(base, rows_for(base, [None] * 5), should_stop=lambda: True)
