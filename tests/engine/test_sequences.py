"""Sequences in one row: which are multiplied together, and that each finds its own place again."""

from __future__ import annotations

import random

import pytest
import torch

from engine.sequences import MOST_WASTE, groups_of


def test_sequences_of_like_length_are_multiplied_together_and_no_group_wastes_much() -> None:
    alike = groups_of([20, 22, 21, 20], torch.device("cpu"))
    unlike = groups_of([200, 10, 12, 190, 11], torch.device("cpu"))

    assert [group.count for group in alike] == [4]
    assert sorted(group.count for group in unlike) == [2, 3]


@pytest.mark.parametrize("seed", range(5))
def test_a_group_costs_no_more_than_the_bound_says_beyond_what_its_sequences_need(seed: int) -> None:
    lengths = [random.Random(seed * 100 + i).randint(1, 400) for i in range(24)]
    groups = groups_of(lengths, torch.device("cpu"))

    assert 1 < len(groups) < len(lengths)
    for group in groups:
        own = torch.bincount((group.known >= 0).nonzero()[:, 0] // group.width)
        assert group.count * group.width**2 <= MOST_WASTE * int((own**2).sum())


def test_what_is_taken_apart_into_groups_is_put_back_in_its_place() -> None:
    packed = torch.randn(2, 5 + 9 + 6 + 40, 3)
    back = torch.zeros_like(packed)
    for group in groups_of([5, 9, 6, 40], torch.device("cpu")):
        group.put(group.taken(packed), back)
        assert torch.equal(group.known[group.real], group.places)
        assert int((group.known < 0).sum()) == group.count * group.width - len(group.real)

    assert torch.equal(back, packed)
