"""Win rates of judgements made by hand."""

from __future__ import annotations

from evaluation.judge.judgements import Judgement, win_rates


def made(user: str, outcome: str, sample: int) -> Judgement:
    return Judgement("s", "small", user, 0, sample, "milp", "base", (outcome, outcome), "judge")


def test_a_win_rate_counts_a_tie_as_half_and_every_user_once() -> None:
    a = [made("a", outcome, number) for number, outcome in enumerate(["first", "first", "first", "tie"])]
    b = [made("b", outcome, number) for number, outcome in enumerate(["second", "tie"])]
    (rate,) = win_rates(a + b)
    assert (rate.won, rate.tied, rate.lost) == (3, 2, 1)
    assert rate.rate is not None
    assert rate.rate.mean == (3.5 / 4 + 0.5 / 2) / 2
    assert rate.rate.users == 2
