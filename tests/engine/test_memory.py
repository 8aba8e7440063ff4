"""The memory finds the nearest past pairs, the nearest last."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.history import Sample
from engine.memory import MemoryPrompt, MemoryRetriever

HISTORY = [
    Sample("My knee hurts after running", "Rest it and use ice"),
    Sample("How much insulin before dinner?", "Four units, as last week"),
    Sample("Is rye bread fine with diabetes?", "In small portions, yes"),
    Sample("The rash on my arm is back", "Use the cream twice a day"),
]


def test_the_pair_that_shares_the_rare_words_is_nearest_and_comes_last() -> None:
    found = MemoryRetriever(HISTORY).nearest("Can I skip insulin at dinner with bread?", 2)
    assert found == [HISTORY[2], HISTORY[1]]


def test_words_of_the_response_are_searched_too() -> None:
    assert MemoryRetriever(HISTORY).nearest("which cream was it", 1) == [HISTORY[3]]


def test_case_punctuation_and_function_words_do_not_count() -> None:
    memory = MemoryRetriever(HISTORY)
    assert memory.nearest("INSULIN!", 1) == memory.nearest("and what about the insulin of yours, please", 1)


def test_a_query_without_any_known_word_gets_the_latest_pairs() -> None:
    for query in ("", "the of and", "penguins", "??"):
        assert MemoryRetriever(HISTORY).nearest(query, 2) == HISTORY[-2:]


def test_of_equally_similar_pairs_the_later_one_is_nearer() -> None:
    twice = [Sample("back pain", "walk"), Sample("something else", "no"), Sample("back pain", "walk", kind="note")]
    assert MemoryRetriever(twice).nearest("back pain", 1) == [twice[2]]
    assert MemoryRetriever(twice).nearest("back pain", 2) == [twice[0], twice[2]]


def test_a_history_no_longer_than_k_comes_back_whole() -> None:
    found = MemoryRetriever(HISTORY).nearest("insulin", 10)
    assert found[-1] == HISTORY[1]
    assert sorted(found, key=HISTORY.index) == HISTORY


def test_an_empty_history_and_k_of_zero_give_nothing() -> None:
    assert MemoryRetriever([]).nearest("insulin", 3) == []
    assert MemoryRetriever(HISTORY).nearest("insulin", 0) == []


def test_a_history_of_function_words_only_is_still_a_memory() -> None:
    only = [Sample("what?", "the"), Sample("who?", "you")]
    assert MemoryRetriever(only).nearest("what insulin", 1) == [only[1]]


@settings(max_examples=50, deadline=None)
@given(
    texts=st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=8),
    query=st.text(max_size=20),
    k=st.integers(0, 10),
)
def test_any_history_gives_k_of_its_own_pairs_and_always_the_same(
    texts: list[tuple[str, str]], query: str, k: int
) -> None:
    samples = [Sample(*pair, kind=str(number)) for number, pair in enumerate(texts)]
    found = MemoryRetriever(samples).nearest(query, k)
    assert len(found) == len(set(found)) == min(k, len(samples))
    assert set(found) <= set(samples)
    assert MemoryRetriever(samples).nearest(query, k) == found


def test_a_memory_prompt_shows_profile_then_pairs_then_the_query() -> None:
    prompt = MemoryPrompt(HISTORY, "keeps bees", 1)
    asked = prompt(Sample("insulin", "?"))
    assert [message.role for message in asked] == ["system", "user", "assistant", "user"]
    assert asked[0].content == "keeps bees"
    assert asked[-1].content == "insulin"


def test_a_sample_of_the_history_never_remembers_itself() -> None:
    for sample in HISTORY:
        shown = MemoryPrompt(HISTORY, "", len(HISTORY))(sample)
        assert len(shown) == 2 * (len(HISTORY) - 1) + 1
        assert sample.response not in [message.content for message in shown if message.role == "assistant"]


def test_a_memory_prompt_of_no_pairs_is_the_query_alone() -> None:
    assert [m.content for m in MemoryPrompt(HISTORY, "", 0)(HISTORY[0])] == [HISTORY[0].query]
