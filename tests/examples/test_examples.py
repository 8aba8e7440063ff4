"""The example histories keep the format that their README states, and are long and varied enough to learn from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
USERS = ("diabetes-patient", "home-baker", "linux-helper")
MIN_SAMPLES = 120
NEAR_DUPLICATE = 0.75
"""Share of words in common, in order (difflib's ratio), from which two texts count as one, slightly reworded."""


@dataclass(frozen=True)
class Example:
    """One line of an example file."""

    user_id: str
    profile: str
    samples: list[dict[str, str]]


def read(user_id: str) -> Example:
    lines = (EXAMPLES / f"{user_id}.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1
    return Example(**json.loads(lines[0]))


@pytest.fixture(params=USERS)
def example(request: pytest.FixtureRequest) -> Example:
    return read(request.param)


def near_duplicates(texts: list[str]) -> list[tuple[str, str]]:
    """Pairs of texts that are alike; the cheap upper bounds of the ratio sort nearly all pairs out."""
    found = []
    matcher = SequenceMatcher[str](autojunk=False)
    for position, second in enumerate(texts):
        matcher.set_seq2(second.lower().split())  # the costly half of the comparison, once per text
        for first in texts[:position]:
            matcher.set_seq1(first.lower().split())
            bounds = (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)
            if all(bound() >= NEAR_DUPLICATE for bound in bounds):
                found.append((first, second))
    return found


def test_every_example_file_is_known_here_and_in_the_readme() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.jsonl")) == sorted(USERS)
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for user_id in USERS:
        assert f"| `{user_id}.jsonl` |" in readme
        assert f" | {len(read(user_id).samples)} | " in readme


def test_the_user_id_is_the_name_of_the_file(example: Example) -> None:
    assert example == read(example.user_id)


def test_the_profile_states_six_to_ten_facts_one_sentence_a_line(example: Example) -> None:
    facts = example.profile.split("\n")
    assert 6 <= len(facts) <= 10
    for fact in facts:
        assert fact == fact.strip()
        assert fact[0].isupper()
        assert fact.endswith((".", '"'))


def test_every_sample_has_a_query_a_response_a_time_and_a_kind(example: Example) -> None:
    for sample in example.samples:
        assert list(sample) == ["query", "response", "time", "kind"]
        assert all(text and text == text.strip() for text in sample.values())
        assert sample["kind"] in {"dialogue", "note"}


def test_there_are_at_least_120_samples_and_most_are_dialogue(example: Example) -> None:
    assert len(example.samples) >= MIN_SAMPLES
    assert sum(sample["kind"] == "dialogue" for sample in example.samples) >= 0.9 * len(example.samples)


def test_times_are_iso_minutes_strictly_in_order_over_several_months(example: Example) -> None:
    times = [datetime.fromisoformat(sample["time"]) for sample in example.samples]
    assert [time.isoformat(timespec="minutes") for time in times] == [sample["time"] for sample in example.samples]
    assert all(earlier < later for earlier, later in pairwise(times))
    assert (times[-1] - times[0]).days >= 180


def test_texts_stay_short_enough_for_a_demo_on_two_cores(example: Example) -> None:
    for sample in example.samples:
        assert 6 <= len(sample["query"].split()) <= 25, sample["query"]
        assert 8 <= len(sample["response"].split()) <= 35, sample["response"]


@pytest.mark.parametrize("field", ["query", "response"])
def test_no_two_texts_of_a_user_are_near_duplicates(example: Example, field: str) -> None:
    assert near_duplicates([sample[field] for sample in example.samples]) == []


def test_a_reworded_text_counts_as_a_near_duplicate() -> None:
    texts = ["Feed the starter twice a day.", "The oven is hot.", "Feed the starter twice every day."]
    assert near_duplicates(texts) == [(texts[0], texts[2])]


@pytest.mark.parametrize(
    ("user_id", "recurring"),
    [
        ("diabetes-patient", ["metformin", "clindamycin", "penicillin", "Bruno", "Henrik", "blue notebook", "First,"]),
        ("linux-helper", ["turnip", "logs first", "golden", "thinkpad", "backup first", "easy:", "man "]),
        ("home-baker", ["Gerda", "Dragon", "Pavel", "Ottilie", "river loaf", "not the clock", "my dear"]),
    ],
)
def test_what_is_typical_of_a_person_recurs_from_the_first_part_to_the_last(user_id: str, recurring: list[str]) -> None:
    responses = [sample["response"] for sample in read(user_id).samples]
    train, test = responses[: int(len(responses) * 0.7)], responses[int(len(responses) * 0.8) :]
    for phrase in recurring:
        assert sum(phrase in response for response in train) >= 5, phrase
        assert sum(phrase in response for response in test) >= 2, phrase
