"""The gate: a winner answers only if it beats base and memory prompt."""

from __future__ import annotations

import pytest

from workers.search.gate import decide

LOW, MIDDLE, HIGH = [10.0, 11.0, 9.0, 10.0, 12.0], [15.0, 14.0, 16.0, 15.0, 13.0], [20.0, 22.0, 19.0, 21.0, 20.0]


def test_a_winner_that_beats_both_passes() -> None:
    decision = decide(HIGH, LOW, MIDDLE, confidence=0.9)
    assert decision.passed
    assert decision.against_base.difference == pytest.approx(10.0)
    assert decision.against_memory.difference == pytest.approx(5.8)
    assert "beats the base by +10.00" in decision.reason
    assert "5 held-out samples" in decision.reason


def test_a_winner_that_loses_to_the_memory_prompt_does_not_pass() -> None:
    decision = decide(MIDDLE, LOW, HIGH, confidence=0.9)
    assert not decision.passed
    assert "beats the base" in decision.reason
    assert "does not beat the memory prompt" in decision.reason


def test_a_winner_that_loses_to_the_base_does_not_pass() -> None:
    assert not decide(MIDDLE, HIGH, LOW, confidence=0.9).passed


def test_a_winner_equal_to_the_base_does_not_pass() -> None:
    assert not decide(HIGH, HIGH, LOW, confidence=0.51).passed


def test_a_lead_within_the_noise_passes_only_a_low_confidence() -> None:
    noisy = [30.0, 2.0, 14.0, 9.0, 8.0]
    probability = decide(noisy, LOW, LOW, confidence=0.9).against_base.probability
    assert 0.55 < probability < 0.9
    assert not decide(noisy, LOW, LOW, confidence=0.9).passed
    assert decide(noisy, LOW, LOW, confidence=0.55).passed


@pytest.mark.parametrize(
    ("winner", "is_open"),
    [
        pytest.param(HIGH, False, id="far ahead of both"),
        pytest.param(LOW, False, id="behind one of them"),
        pytest.param([25.0, 9.0, 22.0, 10.0, 14.0], True, id="ahead, perhaps by chance"),
    ],
)
def test_more_samples_are_wanted_only_where_they_may_change_the_decision(winner: list[float], is_open: bool) -> None:
    decision = decide(winner, LOW, MIDDLE, confidence=0.9)
    assert decision.is_open is is_open
    assert decision.samples == 5


def test_a_lead_that_would_do_in_the_end_is_not_enough_early() -> None:
    lead = [18.0, 12.0, 19.0, 14.0, 14.0]
    decision = decide(lead, LOW, LOW, confidence=0.9)
    assert decision.passed
    assert not decision.is_open
    slight = [12.0, 10.5, 15.0, 9.5, 13.0]
    decision = decide(slight, LOW, LOW, confidence=0.9)
    assert 0.9 <= decision.against_base.probability < 0.99
    assert decision.passed
    assert decision.is_open


def test_the_same_scores_give_the_same_decision() -> None:
    assert decide(HIGH, LOW, MIDDLE, 0.9) == decide(HIGH, LOW, MIDDLE, 0.9)


def test_scores_of_different_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="same samples"):
        decide(HIGH, LOW[:-1], MIDDLE, 0.9)
