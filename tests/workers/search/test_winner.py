"""Which trial is published."""

from __future__ import annotations

from tests.workers.search.scores import seen, seen_base
from workers.search.winner import choose_winner

BASE = seen_base(loss=3.0, rouge_l=10.0, se=1.0)


def test_the_best_lower_bound_wins_not_the_best_mean() -> None:
    trials = [BASE, seen(2.9, 15.0, "1000", se=4.0), seen(2.8, 14.0, "0100", se=1.0)]
    winner = choose_winner(trials, BASE)
    assert winner.index == 2
    assert not winner.is_base
    assert "13.00" in winner.reason


def test_a_trial_with_a_worse_loss_than_the_base_cannot_win() -> None:
    assert choose_winner([BASE, seen(3.1, 30.0, "1000"), seen(3.0, 12.0, "0100")], BASE).index == 2


def test_a_trial_off_the_pareto_front_cannot_win() -> None:
    # The first has the better bound, but the second beats it in both means.
    trials = [BASE, seen(2.9, 14.0, "1000", se=0.5), seen(2.8, 14.5, "0100", se=2.0)]
    assert choose_winner(trials, BASE).index == 2


def test_ties_go_to_fewer_parameters() -> None:
    large, small = seen(2.5, 14.0, "1110", parameters=300), seen(2.5, 14.0, "1000", parameters=100)
    winner = choose_winner([BASE, large, small], BASE)
    assert winner.index == 2
    assert "fewest parameters" in winner.reason


def test_ties_in_parameters_too_go_to_the_earlier_trial() -> None:
    assert choose_winner([BASE, seen(2.5, 14.0, "1000"), seen(2.5, 14.0, "0100")], BASE).index == 1


def test_the_base_wins_where_every_trial_is_worse() -> None:
    winner = choose_winner([BASE, seen(3.5, 8.0)], BASE)
    assert winner.is_base
    assert winner.index == 0
    assert "base itself" in winner.reason


def test_the_base_wins_where_its_bound_is_best_on_the_front() -> None:
    assert choose_winner([seen(2.9, 9.5, se=1.0), BASE], BASE).is_base


def test_the_base_wins_without_an_index_where_it_is_not_among_the_observations() -> None:
    winner = choose_winner([seen(3.5, 8.0)], BASE)
    assert winner.is_base
    assert winner.index is None
    assert choose_winner([], BASE).is_base


def test_the_index_counts_all_observations_also_where_the_base_stands_last() -> None:
    assert choose_winner([seen(3.5, 8.0), seen(2.0, 20.0), BASE], BASE).index == 1
