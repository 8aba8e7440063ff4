"""The split in time is exact, and a profile becomes samples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import HistoryTooShortError
from engine.history import MIN_SAMPLES, PROFILE_QUERY, Sample, profile_samples, split_in_time


@pytest.mark.parametrize(
    ("count", "train", "validation", "test"),
    [(20, 12, 4, 4), (29, 17, 5, 7), (90, 54, 18, 18), (95, 57, 19, 19), (100, 60, 20, 20), (170, 102, 34, 34)],
)
def test_a_split_has_exactly_60_20_and_20_percent(count: int, train: int, validation: int, test: int) -> None:
    split = split_in_time(range(count))
    assert (len(split.train), len(split.validation), len(split.test)) == (train, validation, test)


@given(count=st.integers(MIN_SAMPLES, 3000))
def test_a_split_is_the_whole_history_in_order(count: int) -> None:
    split = split_in_time(range(count))
    assert [*split.train, *split.validation, *split.test] == list(range(count))
    assert len(split.train) == count * 3 // 5
    assert len(split.validation) == count // 5


@pytest.mark.parametrize("count", [0, 1, MIN_SAMPLES - 1])
def test_a_history_too_short_to_split_says_how_many_are_needed(count: int) -> None:
    with pytest.raises(HistoryTooShortError, match=f"{count} samples are too few .* at least {MIN_SAMPLES}"):
        split_in_time(range(count))


def test_a_smallest_history_that_is_set_higher_is_kept_to() -> None:
    with pytest.raises(HistoryTooShortError, match="at least 50"):
        split_in_time(range(49), min_samples=50)
    assert len(split_in_time(range(50), min_samples=50).train) == 30


def test_each_sentence_of_a_profile_becomes_a_sample() -> None:
    profile = "I have type 2 diabetes. My insulin is 4.5 units!\n\n  - Born in Leeds\n* I keep bees\n"
    assert profile_samples(profile) == [
        Sample(PROFILE_QUERY, response, kind="profile")
        for response in ("I have type 2 diabetes.", "My insulin is 4.5 units!", "Born in Leeds", "I keep bees")
    ]


def test_a_fact_that_is_told_twice_is_learned_once() -> None:
    assert [sample.response for sample in profile_samples("I keep bees.\nI sail. I keep bees.")] == [
        "I keep bees.",
        "I sail.",
    ]


@pytest.mark.parametrize("profile", ["", " \n\t\n", "-\n*"])
def test_an_empty_profile_has_no_facts(profile: str) -> None:
    assert profile_samples(profile) == []


@given(profile=st.text())
def test_no_character_of_a_profile_is_lost_but_white_space_and_bullets(profile: str) -> None:
    kept = "".join(dict.fromkeys(sample.response for sample in profile_samples(profile)))
    assert set(kept) >= {c for c in profile if c not in " -*•" and not c.isspace()}
    assert all(sample.response.strip() == sample.response != "" for sample in profile_samples(profile))
