"""Beginnings of prompts that were read before: the same answers with less reading, and nobody's for another."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from engine.answering import AnsweringEngine
from engine.base import Base
from engine.configuration import Configuration
from engine.decoding import DecodingBatch, Row, generate
from engine.prefixes import LEAST_TOKENS, PrefixCache, PrefixKey
from engine.prompts import Message
from engine.stack import Stack
from tests.engine.conftest import random_stack
from tests.support.families import CONFIGS

PROFILE = "I live by the sea with two dogs, I like rain and long walks, and I write every day before breakfast."
QUERIES = ["what shall I do today?", "and tomorrow, when my sister comes to see us?", "why"]
ROOMY = 2**30


def prompt(base: Base, *turns: str) -> list[int]:
    said = [Message("user" if i % 2 == 0 else "assistant", turn) for i, turn in enumerate(turns)]
    return base.format.prompt_ids([Message("system", PROFILE), *said])


def answered(base: Base, rows: Sequence[Row], prefixes: PrefixCache | None = None) -> list[list[int]]:
    batch = DecodingBatch(base, prefixes)
    batch.admit(rows)
    batch.release_finished()
    while batch.rows:
        batch.step()
        batch.release_finished()
    return [row.tokens for row in rows]


def tokens_read(base: Base, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each forward reads from here on."""
    read: list[int] = []
    forward = base.hidden_states

    def counted(ids: Any, *args: Any, **named: Any) -> Any:
        read.append(ids.numel())
        return forward(ids, *args, **named)

    monkeypatch.setattr(base, "hidden_states", counted)
    return read


@pytest.mark.parametrize("family", CONFIGS)
def test_who_comes_again_is_answered_as_if_for_the_first_time(family: str, tiny_base: Callable[[str], Base]) -> None:
    base, prefixes = tiny_base(family), PrefixCache(ROOMY)
    stacks: list[Stack | None] = [
        random_stack(base, Configuration((True,) * base.n_layers, 1, 8), seed=1),
        None,
        random_stack(base, Configuration((True,) * base.n_layers, 2, 4), seed=2),
    ]
    keys = [PrefixKey(f"user{i}/", f"v{i}") for i in range(len(stacks))]
    for query in QUERIES:
        known = [Row(prompt(base, query), stack, 12, prefix_key=key) for stack, key in zip(stacks, keys, strict=True)]
        fresh = [Row(prompt(base, query), stack, 12) for stack in stacks]
        assert answered(base, known, prefixes) == answered(base, fresh)


def test_only_what_is_new_is_read(tiny_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch) -> None:
    base, prefixes, key = tiny_base("llama"), PrefixCache(ROOMY), PrefixKey("user/", "")
    first = Row(prompt(base, QUERIES[0]), None, 5, prefix_key=key)
    answered(base, [first], prefixes)
    # The conversation goes on: what was answered has been read too.
    said = base.format.decode(first.tokens)
    longer = prompt(base, QUERIES[0], said, QUERIES[1])
    read = tokens_read(base, monkeypatch)
    answered(base, [Row(longer, None, 1, prefix_key=key)], prefixes)
    shared = len(first.prompt)
    assert longer[:shared] == list(first.prompt)
    assert read[0] <= len(longer) - shared
    # The very same prompt: its last token is read, which gives the first answer.
    answered(base, [Row(longer, None, 1, prefix_key=key)], prefixes)
    assert read[-1] == 1


@pytest.mark.parametrize("other", [PrefixKey("other/", "v1"), PrefixKey("user/", "v2"), PrefixKey("user/", "")])
def test_nothing_is_taken_from_another_owner_or_another_version(
    other: PrefixKey, tiny_base: Callable[[str], Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, prefixes = tiny_base("llama"), PrefixCache(ROOMY)
    ids = prompt(base, QUERIES[0])
    answered(base, [Row(ids, None, 2, prefix_key=PrefixKey("user/", "v1"))], prefixes)
    read = tokens_read(base, monkeypatch)
    answered(base, [Row(ids, None, 1, prefix_key=other)], prefixes)
    assert read == [len(ids)]


def test_a_beginning_that_is_shared_by_a_few_tokens_only_is_read_again() -> None:
    prefixes, key = PrefixCache(ROOMY), PrefixKey("u/", "")
    prefixes.keep(lambda: key, list(range(100)), {0: (torch.zeros(1, 100, 2), torch.zeros(1, 100, 2))})
    assert prefixes.find(key, [*range(LEAST_TOKENS - 1), 500, 501]) is None
    found = prefixes.find(key, [*range(LEAST_TOKENS), 500, 501])
    assert found is not None
    assert found.length == LEAST_TOKENS
    whole = prefixes.find(key, list(range(50)))
    assert whole is not None
    assert whole.length == 49


def test_no_more_is_kept_than_there_is_room_for_and_the_least_recently_used_goes() -> None:
    pair = (torch.zeros(1, 100, 2), torch.zeros(1, 100, 2))
    size = 2 * pair[0].numel() * 4
    prefixes = PrefixCache(2 * size + 1)
    keys = [PrefixKey(f"u{i}/", "") for i in range(3)]
    for key in keys[:2]:
        prefixes.keep(lambda key=key: key, list(range(100)), {0: pair})  # type: ignore[misc]
    assert prefixes.find(keys[0], list(range(60))) is not None
    prefixes.keep(lambda: keys[2], list(range(100)), {0: pair})
    assert [prefixes.find(key, list(range(60))) is not None for key in keys] == [True, False, True]
    prefixes.keep(lambda: keys[1], list(range(1000)), {0: (torch.zeros(1, 1000, 2), torch.zeros(1, 1000, 2))})
    assert prefixes.find(keys[1], list(range(60))) is None  # larger than all the room
    prefixes.forget("u0/")
    assert [prefixes.find(key, list(range(60))) is not None for key in keys] == [False, False, True]


def test_of_whom_was_forgotten_an_answer_in_the_making_leaves_nothing(small_base: Base) -> None:
    engine = AnsweringEngine(small_base, max_batch_rows=2, max_queue=4, bank_stacks=2)
    engine.start()
    try:
        messages = [Message("system", PROFILE), Message("user", QUERIES[1])]
        kept = engine.submit(messages, max_new_tokens=3, owner="stays/")
        answer = engine.submit(messages, max_new_tokens=60, owner="goes/")
        next(iter(answer))
        engine.forget("goes/")
        answer.text()
        kept.text()
        # Rows leave after their answers are complete.
        while engine.running:
            time.sleep(0.001)
        ids = small_base.format.prompt_ids(messages)
        assert engine.prefixes.find(PrefixKey("goes/", ""), ids) is None
        assert engine.prefixes.find(PrefixKey("stays/", ""), ids) is not None
    finally:
        engine.close()


def test_answers_side_by_side_begin_where_each_was_left(small_base: Base) -> None:
    prefixes = PrefixCache(ROOMY)
    stack = random_stack(small_base, Configuration((True,) * small_base.n_layers, 1, 8), seed=3)
    keys = [PrefixKey("a/", "v"), None, PrefixKey("b/", "")]
    for query in QUERIES:
        rows = [
            Row(prompt(small_base, query), use, 10, prefix_key=key)
            for use, key in zip((stack, stack, None), keys, strict=True)
        ]
        for row, tokens in zip(rows, answered(small_base, rows, prefixes), strict=True):
            alone = Row(row.prompt, row.stack, 10)
            generate(small_base, [alone])
            assert tokens == alone.tokens
