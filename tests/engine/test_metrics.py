"""Scores equal values computed by hand; intervals say what few answers are worth."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from engine.metrics import (
    bootstrap_interval,
    mean_and_se,
    paired_bootstrap,
    persona_f1,
    persona_words,
    rouge_1,
    rouge_l,
)

finite = st.floats(-100, 100)


@pytest.mark.parametrize(
    ("reference", "response", "expected_1", "expected_l"),
    [
        ("the cat sat", "the cat sat", 100.0, 100.0),
        # precision 2/2, recall 2/3
        ("the cat sat", "the cat", 80.0, 80.0),
        # the same three words, but the longest common subsequence is one word long
        ("one two three", "three two one", 100.0, 100 / 3),
        # stems are equal; then three words are shared, but only "the wound" in the same order
        ("nurses dressed the wound", "nurse dress the wounds", 100.0, 100.0),
        ("nurses dressed the wound", "the wound nurses left", 75.0, 50.0),
        # a repeated word counts as often as the reference has it: precision 1/3, recall 1
        ("yes", "yes yes yes", 50.0, 50.0),
        ("cats", "dogs", 0.0, 0.0),
        ("anything", "", 0.0, 0.0),
        ("", "anything", 0.0, 0.0),
    ],
)
def test_rouge_equals_values_computed_by_hand(
    reference: str, response: str, expected_1: float, expected_l: float
) -> None:
    assert rouge_1(reference, response) == pytest.approx(expected_1)
    assert rouge_l(reference, response) == pytest.approx(expected_l)


def test_rouge_compares_word_stems_without_case_and_punctuation() -> None:
    assert rouge_1("He was running.", "he WAS runs!") == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("reference", "response", "expected"),
    [
        ("Привет, как дела?", "привет как дела", 100.0),
        # precision 2/3, recall 2/3
        ("Привет, как дела?", "Привет, а дела?", 200 / 3),
        # characters of a script without spaces: 3 shared of 4 and 3
        ("我有糖尿", "有糖尿", 600 / 7),
        # words of both kinds, English ones by their stems
        ("он запускает servers", "он запускает server", 100.0),
        ("Ужин", "завтрак", 0.0),
    ],
)
def test_rouge_counts_words_of_any_script(reference: str, response: str, expected: float) -> None:
    assert rouge_1(reference, response) == pytest.approx(expected)
    assert rouge_l(reference, response) == pytest.approx(expected)


@given(reference=st.text(st.characters(max_codepoint=127)), response=st.text(st.characters(max_codepoint=127)))
def test_rouge_of_ascii_text_is_the_librarys_own(reference: str, response: str) -> None:
    original = RougeScorer(["rougeL"], use_stemmer=True).score(reference, response)["rougeL"].fmeasure
    assert rouge_l(reference, response) == pytest.approx(100.0 * original)


def test_persona_f1_equals_a_value_computed_by_hand() -> None:
    persona = persona_words(["I have diabetes", "and a skin infection", "Diabetes again"])
    assert persona == {"diabetes", "skin", "infection"}
    # response words: diabetes, skin, worse, today; shared 2; precision 2/4, recall 2/3
    assert persona_f1("The skin is worse today, the diabetes? skin!", persona) == pytest.approx(100 * 4 / 7)
    assert persona_f1("diabetes infection skin", persona) == pytest.approx(100.0)


@pytest.mark.parametrize("response", ["", "I am the one", "penguins"])
def test_a_response_that_shares_nothing_with_the_persona_scores_zero(response: str) -> None:
    assert persona_f1(response, persona_words(["diabetes"])) == 0.0
    assert persona_f1(response, frozenset()) == 0.0


@given(response=st.text(), texts=st.lists(st.text(), max_size=4))
def test_persona_f1_lies_between_0_and_100_for_any_text(response: str, texts: list[str]) -> None:
    assert 0.0 <= persona_f1(response, persona_words(texts)) <= 100.0 + 1e-9


def test_the_standard_error_equals_a_value_computed_by_hand() -> None:
    # sample variance of 2, 4, 4, 6 is 8/3, over 4 values
    assert mean_and_se([2, 4, 4, 6]) == pytest.approx((4.0, math.sqrt(8 / 3 / 4)))
    assert mean_and_se([5.0, 5.0]) == (5.0, 0.0)


def test_one_value_has_no_standard_error() -> None:
    with pytest.raises(ValueError, match="at least two values"):
        mean_and_se([3.0])


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf"), 1.0]])
def test_nothing_is_averaged_that_has_no_mean(values: list[float]) -> None:
    for average in (mean_and_se, bootstrap_interval):
        with pytest.raises(ValueError, match=r"no values|NaN or infinite"):
            average(values)
    with pytest.raises(ValueError, match=r"no values|NaN or infinite"):
        paired_bootstrap(values, values)


@given(values=st.lists(finite, min_size=1, max_size=30), seed=st.integers(0, 1000))
def test_a_bootstrap_interval_lies_within_the_values(values: list[float], seed: int) -> None:
    found = bootstrap_interval(values, resamples=200, seed=seed)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
    assert found.mean == pytest.approx(sum(values) / len(values), abs=1e-9)


def test_a_bootstrap_interval_agrees_with_the_normal_one_where_that_holds() -> None:
    values = [math.sin(97.0 * i) for i in range(400)]
    mean, se = mean_and_se(values)
    found = bootstrap_interval(values, confidence=0.95, resamples=4000)
    assert found.low == pytest.approx(mean - 1.96 * se, abs=0.1 * se)
    assert found.high == pytest.approx(mean + 1.96 * se, abs=0.1 * se)
    narrower = bootstrap_interval(values, confidence=0.5, resamples=4000)
    assert found.low < narrower.low < narrower.high < found.high


def test_the_same_values_and_seed_give_the_same_interval() -> None:
    values = [1.0, 5.0, 2.0, 8.0]
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values * 9, seed=3) != bootstrap_interval(values * 9, seed=4)


def test_a_method_that_is_better_on_every_sample_surely_wins() -> None:
    found = paired_bootstrap([3.0, 5.0, 9.0], [1.0, 4.0, 8.5])
    assert found.probability == 1.0
    assert found.difference == pytest.approx(3.5 / 3)
    assert 0.5 <= found.low <= found.difference <= found.high <= 2.0
    assert paired_bootstrap([1.0, 4.0, 8.5], [3.0, 5.0, 9.0]).probability == 0.0


def test_two_identical_methods_never_beat_each_other() -> None:
    found = paired_bootstrap([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (found.difference, found.low, found.high, found.probability) == (0.0, 0.0, 0.0, 0.0)


def test_pairing_sees_a_small_steady_gain_under_a_large_spread() -> None:
    spread = [float(10 * (i % 10)) for i in range(20)]
    gain = [value + 1 + 0.1 * (i % 3) for i, value in enumerate(spread)]
    assert paired_bootstrap(gain, spread).probability == 1.0
    interval = bootstrap_interval(spread)
    assert interval.low < sum(gain) / len(gain) < interval.high


def test_the_probability_matches_all_resamples_counted_out() -> None:
    # Differences 2 and -1: of the four equally likely resamples only (-1, -1) has no positive mean.
    assert paired_bootstrap([2.0, 0.0], [0.0, 1.0], resamples=20_000).probability == pytest.approx(0.75, abs=0.02)


def test_lists_of_different_length_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same samples on both sides, got 2 and 1"):
        paired_bootstrap([1.0, 2.0], [1.0])


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_a_confidence_is_a_share_of_one(confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        bootstrap_interval([1.0, 2.0], confidence=confidence)


def test_importing_the_text_modules_loads_nothing_heavy() -> None:
    script = (
        "import sys, engine.metrics, engine.memory, engine.history\n"
        "print([name for name in ('torch', 'numpy', 'bm25s', 'nltk', 'rouge_score', 'jax') if name in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
