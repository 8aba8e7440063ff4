"""Which samples are typical of a person, and that a training learns no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.job_options import JobOptions
from app.settings import Settings
from engine.base import Base
from engine.history import Sample
from engine.metrics import rouge_l
from engine.training import Course, train_candidates
from engine.typical import COMPARED, Likeness, most_typical
from tests.engine.test_training import CANDIDATE, SETTINGS, assert_same_weights
from workers.steps.evaluate import training_settings

WORDS = st.lists(st.sampled_from(["tea", "rain", "you", "the", "on"]), max_size=12)
SAID = ["i like tea", "i like green tea", "nobody knows", "i like rain", "what"]


@settings(deadline=None)  # rouge-score is loaded by the first
@given(WORDS, WORDS)
def test_likeness_is_rouge_l(one: list[str], other: list[str]) -> None:
    assert Likeness(one).of(other) == pytest.approx(rouge_l(" ".join(one), " ".join(other)))


@pytest.mark.parametrize(
    ("share", "places"), [(0.1, [0]), (0.4, [0, 1]), (0.6, [0, 1, 3]), (0.8, [0, 1, 2, 3]), (1.0, [0, 1, 2, 3, 4])]
)
def test_those_most_like_the_others_are_kept_in_their_order(share: float, places: list[int]) -> None:
    assert most_typical(SAID, share) == places


def test_of_a_single_sample_or_none_nothing_is_left_out() -> None:
    assert most_typical([], 0.5) == []
    assert most_typical(["alone"], 0.01) == [0]


def test_where_no_response_is_like_another_all_are_learned() -> None:
    assert most_typical(["one", "two", "three"], 0.3) == [0, 1, 2]


def test_a_long_history_is_compared_with_a_part_of_it() -> None:
    others = [f"only{i} here{i}" for i in range(3 * COMPARED)]
    common = ["same words"] * COMPARED
    found = most_typical([*others, *common], 0.25)
    assert found == [*range(3 * COMPARED, 4 * COMPARED)]


def test_a_share_is_learned_as_if_the_others_were_not_there_and_facts_of_the_profile_are_learned_beside_it(
    tiny_base: Callable[[str], Base],
) -> None:
    base = tiny_base("llama")
    samples = [Sample(f"what do you say, {i}", said) for i, said in enumerate(SAID)]
    typical = [samples[i] for i in (0, 1, 3)]
    share = replace(SETTINGS, typical_share=0.6)
    chosen, alone, whole = (
        train_candidates(base, [CANDIDATE], Course(*told, profile="Keeps a garden. Has a cat."))[0]
        for told in ((samples, share), (typical, SETTINGS), (samples, SETTINGS))
    )
    assert_same_weights(chosen, alone)
    assert chosen.losses == alone.losses
    assert chosen.losses != whole.losses[: len(chosen.losses)]


def test_the_share_of_the_settings_is_that_of_every_training_of_a_job() -> None:
    told = JobOptions().resolve(Settings(_env_file=None, typical_share=0.4))
    assert training_settings(told).typical_share == 0.4
