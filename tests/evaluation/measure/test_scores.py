"""Scores that the engine does not know: how varied and how long answers are."""

from __future__ import annotations

import pytest

from engine.evaluation import Evaluation
from evaluation.measure.scores import distinct, summarised


def test_distinct_is_the_share_of_unlike_words_and_pairs_in_all_answers_together() -> None:
    said = ["a b a b", "A c"]
    assert distinct(said, 1) == pytest.approx(3 / 6)
    assert distinct(said, 2) == pytest.approx(3 / 4)


def test_answers_too_short_for_a_pair_have_no_variety() -> None:
    assert distinct(["", "one"], 2) == 0
    assert distinct([], 1) == 0


def test_a_summary_has_the_means_and_the_words_of_an_answer() -> None:
    made = Evaluation(
        loss=[1.0, 3.0], rouge_1=[10.0, 20.0], rouge_l=[0.0, 8.0], persona_f1=[1.0, 2.0], responses=["a b c", "d"]
    )
    assert summarised(made) == {
        "rouge_1": 15.0,
        "rouge_l": 4.0,
        "persona_f1": 1.5,
        "loss": 2.0,
        "length": 2.0,
        "distinct_1": 1.0,
        "distinct_2": 1.0,
    }
