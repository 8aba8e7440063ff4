"""The baselines that remember in the prompt."""

from __future__ import annotations

from typing import Any

import pytest

from engine.history import Sample
from engine.prompts import Message
from evaluation.measure.memories import (
    FACTS_KEPT,
    FACTS_SHOWN,
    DictionaryMemory,
    ShortAndLongTermMemory,
    long_term_facts,
)

HISTORY = [
    Sample("My knee hurts after running", "Rest it"),
    Sample("Insulin before dinner?", "Four units"),
    Sample("What about rye bread?", "Insulin goes up"),
    Sample("The rash on my arm is back", "Use the cream"),
]
ASKED = Sample("How much insulin?", "?")


def pairs(messages: list[Message]) -> list[tuple[str, str]]:
    """The remembered pairs of a prompt."""
    turns = [m for m in messages if m.role != "system"][:-1]
    return [(a.content, b.content) for a, b in zip(turns[::2], turns[1::2], strict=True)]


def test_a_dictionary_looks_queries_up_by_queries_alone() -> None:
    assert pairs(DictionaryMemory(HISTORY, "", 1)(ASKED)) == [("Insulin before dinner?", "Four units")]


def test_a_dictionary_puts_the_nearest_last_and_the_profile_first() -> None:
    prompt = DictionaryMemory(HISTORY, "runs", 2)(ASKED)
    assert (prompt[0].role, prompt[0].content) == ("system", "runs")
    assert len(pairs(prompt)) == 2
    assert pairs(prompt)[-1][0] == "Insulin before dinner?"
    assert prompt[-1].content == ASKED.query


def test_short_term_memory_is_the_latest_turn_and_long_term_memory_the_turns_and_facts_like_the_query() -> None:
    prompt = ShortAndLongTermMemory(HISTORY, "runs", 3)(Sample("How much insulin at dinner?", "?"))
    assert pairs(prompt) == [
        ("The rash on my arm is back", "Use the cream"),
        ("Insulin before dinner?", "Four units"),
    ]
    assert prompt[0].role == "system"
    assert prompt[0].content.splitlines()[0] == "runs"


MEALS = ["breakfast", "lunch", "dinner", "supper", "tea", "snacks"]
OTHER = ["The old dog limps badly.", "Roses grow beside our gate.", "My brother plays the violin."]


def facts_shown(history: list[Sample], query: str, **more: Any) -> list[str]:
    """The facts in the prompt of a history without a profile."""
    prompt = ShortAndLongTermMemory(history, "", 3, **more)(Sample(query, "?"))
    return [line for m in prompt if m.role == "system" for line in m.content.splitlines()]


def test_of_the_facts_those_like_the_query_are_shown_and_no_more_than_so_many() -> None:
    about_insulin = [f"I forget insulin at {meal}." for meal in MEALS]
    history = [Sample(text, "I see") for text in (*OTHER, *about_insulin)]
    shown = facts_shown(history, "How much insulin?")
    assert len(shown) == len(set(shown)) == FACTS_SHOWN < len(MEALS)
    assert set(shown) < set(about_insulin)
    assert "Roses grow beside our gate." in facts_shown(history, "Why do my roses wilt at the gate?")


def test_facts_are_of_the_side_that_the_person_wrote() -> None:
    history = [Sample("The printer prints blank pages.", "I always reinstall the cups driver.")] * 2
    assert facts_shown(history, "printer driver pages?") == ["The printer prints blank pages."]
    assert facts_shown(history, "printer driver pages?", wrote="responses") == ["I always reinstall the cups driver."]


def test_so_many_facts_are_kept_the_latest_of_those_that_came_up_once() -> None:
    said = [f"word{i}a word{i}b word{i}c." for i in range(FACTS_KEPT + 10)]
    assert long_term_facts(said) == said[10:]


@pytest.mark.parametrize("items", [0, 1, 2, 3, 5])
def test_both_memories_show_at_most_so_many_items(items: int) -> None:
    assert len(pairs(DictionaryMemory(HISTORY, "", items)(ASKED))) <= items
    prompt = ShortAndLongTermMemory(HISTORY, "", items)(ASKED)
    facts = any(message.role == "system" for message in prompt)
    assert len(pairs(prompt)) + facts <= items


def test_a_fact_that_comes_up_again_and_lately_is_stronger() -> None:
    queries = [
        "I grow red roses at home.",
        "My brother plays the old violin.",
        "Do my red roses grow at home in winter?",
        "Hello there.",
    ]
    facts = long_term_facts(queries)
    assert "Hello there." not in facts
    assert facts.index("My brother plays the old violin.") < facts.index("I grow red roses at home.")


def test_of_two_facts_said_once_the_later_is_stronger() -> None:
    assert long_term_facts(["Kept seven brown hens.", "Sold three green boats."])[-1] == "Sold three green boats."


def test_an_empty_history_leaves_the_query() -> None:
    for memory in (DictionaryMemory([], "", 3), ShortAndLongTermMemory([], "", 3)):
        assert [message.content for message in memory(ASKED)] == [ASKED.query]
