"""The benchmark of answering: both sides compute the same, at the same length, and its figures are read off right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.material import MIXES, history
from benchmarks.peers import endless, fresh_model, with_adapters
from benchmarks.results_file import LIMIT
from benchmarks.serve import ours, steps, theirs, users
from benchmarks.serve.answers import LATENCIES, Round, percentile, round_of
from benchmarks.serve.api import PER_SECOND, TINY, api_rows
from benchmarks.serve.prefixes import prefix_rows
from benchmarks.serve.stored import cold_rows
from benchmarks.shapes import Shape, random_base, saved_base
from engine.base import Base
from engine.prefixes import Past, PrefixCache, PrefixKey
from engine.prompts import messages_for

QUERIES = ["How do you do?", "What is a loaf?", "Name three dogs, please."]


def test_a_rounds_times_are_read_off_its_stamps() -> None:
    found = round_of(10.0, [[11.0, 12.0, 14.0], [10.5, 11.5, 12.5]], tokens=3)
    assert (found.seconds, found.tokens, found.tokens_per_second) == (4.0, 6, 1.5)
    assert (found.first, found.per_token) == ([1.0, 0.5], [1.5, 1.0])
    assert LATENCIES["time to first token, p99"](found) == 1000.0


def test_a_client_that_asks_later_is_timed_from_then_on() -> None:
    assert round_of(10.0, [[11.0, 12.0], [15.0, 16.0]], tokens=2, asked=[10.0, 14.5]).first == [1.0, 0.5]


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([float(i) for i in range(1, 101)], 0.99) == 99.0
    assert percentile([7.0], 0.99) == 7.0


@pytest.mark.parametrize("mix", MIXES)
def test_pefts_batch_says_what_the_engine_says(base: Base, mix: str) -> None:
    ours.endless_base(base)
    people = ours.Users(base, MIXES[mix], len(QUERIES))
    model = with_adapters(base, endless(fresh_model(base)), {f"u{i}": people.stack(i) for i in range(3)})
    said: list[list[int]] = []
    texts, theirs.texts = theirs.texts, lambda base, ids: said.extend(ids) or texts(base, ids)  # type: ignore[func-returns-value]
    try:
        theirs.generate(base, model, QUERIES, 6, adapter_names=["u0", "u1", "u2"])
    finally:
        theirs.texts = texts
    with ours.engine(base, rows=3, bank_stacks=3, queue=3, threads=1) as running:
        answers = [ours.ask(running, request, 6) for request in people.requests(QUERIES)]
        assert [answer.text() for answer in answers] == texts(base, said)
        assert [answer.completion_tokens for answer in answers] == [6, 6, 6] == [len(ids) for ids in said]


def test_users_beyond_the_generated_stacks_have_copies_in_memory_of_their_own(base: Base) -> None:
    people = ours.Users(base, MIXES["default LoRA"], ours.DISTINCT + 1)
    first, last = people.stack(0), people.stack(ours.DISTINCT)
    name = next(iter(first.a))
    assert first.a[name].equal(last.a[name])
    assert first.a[name].data_ptr() != last.a[name].data_ptr()


def test_only_the_headline_has_targets_and_the_better_of_transformers_has_one() -> None:
    def at(speed: int) -> list[Round]:
        return [Round(1.0, speed, [0.1], [0.1])]

    found = {
        users.OURS: at(100),
        users.BASE_ALONE: at(110),
        users.GENERATE: at(90),
        users.CONTINUOUS: at(95),
        users.PEFT_BATCH: at(10),
        users.PEFT_SINGLY: at(20),
    }
    cell = users.Cell(*users.HEADLINE, repeats=1)
    targets = {row.peer_name: row.target for row in users.rows(cell, found, users.TARGETS) if row.target is not None}
    assert targets == {users.BASE_ALONE: 0.8, users.PEFT_BATCH: 5.0, users.CONTINUOUS: 1.0}
    assert {row.target for row in users.rows(cell, found, {})} == {None}


def test_every_contender_of_a_cell_answers_everybody(base: Base) -> None:
    ours.endless_base(base)
    cell = users.Cell("searched", 3, repeats=1, new_tokens=3)
    with users.contenders(base, cell, QUERIES, 1) as entered:
        assert {name: run().tokens for name, run in entered.items()} == dict.fromkeys(entered, 9)
    assert len(entered) == 6


def test_a_cold_stack_is_measured_alone_and_in_company(base: Base) -> None:
    rows = cold_rows(ours.endless_base(base), QUERIES, 1, repeats=1, new_tokens=4)
    assert [row.target for row in rows] == [None, None, 1.0, None, None, 1.0, None, 1.0]
    assert all(row.ours > 0 for row in (*rows[:2], *rows[3:5], rows[6]))


def test_who_comes_again_is_known_by_their_name_and_read_anew_without(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, found = PrefixCache.find, list[bool]()

    def noted(self: PrefixCache, key: PrefixKey | None, prompt: Sequence[int]) -> Past | None:
        past = find(self, key, prompt)
        found.append(past is not None)
        return past

    monkeypatch.setattr(PrefixCache, "find", noted)
    short = replace(history(), profile="I bake.")
    (row,) = prefix_rows(ours.endless_base(base), short, 1, repeats=1, users=[1], pairs=1)

    assert row.ours > 0
    # A round that is not counted, then one that is: two answers for one who is known, two for one who is not.
    assert found == [False, True, False, False] * 2


def test_a_decoding_step_is_measured_on_a_shape_of_random_weights() -> None:
    tiny = Shape("tiny", 32, 2, 4, 2, 48, 8192, candidates=2, target=5.0, step_ms=1e9)
    rows = steps.measure(tiny, QUERIES, 1, repeats=1, rows=3, device="cpu", dtype=torch.float32)
    assert [(row.peer_name, row.target) for row in rows] == [
        (users.BASE_ALONE, steps.OF_BASE_ALONE),
        (steps.SINGLY, None),
        (LIMIT, 1.0),
    ]
    assert all(row.ours > 0 for row in rows)


def test_a_shape_is_saved_where_peers_find_the_same_weights(tmp_path: Path) -> None:
    tiny = Shape("tiny", 32, 2, 4, 2, 48, 8192, candidates=2, target=5.0)
    _, model = random_base(tiny, "cpu", torch.float32)
    saved = saved_base(tiny, tmp_path, "cpu", torch.float32)
    weights = zip(fresh_model(saved).parameters(), saved.model.parameters(), model.parameters(), strict=True)
    assert all(torch.equal(peers, drawn) and torch.equal(own, drawn) for peers, own, drawn in weights)


def test_prompts_are_the_same_for_both_sides(base: Base) -> None:
    assert theirs.encoded(base, QUERIES) == [base.format.prompt_ids(messages_for(query)) for query in QUERIES]


@pytest.mark.slow  # two services are started for it, half a minute
def test_the_api_is_asked_for_real_and_the_engines_time_is_taken_off(base: Base) -> None:
    rows = {row.what: row for row in api_rows(base, QUERIES, seconds=0.1, repeats=1)}
    for asked in (f"/responses of {TINY}", "/responses"):
        engine = rows[f"{asked}, {PER_SECOND} a second: in the engine, p50"]
        outside = rows[f"{asked}, {PER_SECOND} a second: outside the engine, p50"]
        assert engine.ours > 0
        assert outside.ours > 0
    assert [row.what for row in rows.values() if row.target is not None] == [
        f"/responses of {TINY}, {PER_SECOND} a second: outside the engine, p99"
    ]
