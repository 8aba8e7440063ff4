"""The Pareto front of two objectives: loss (less is better) and ROUGE-L (more is better).

Plain arithmetic; loads nothing heavy. Must not know where the scores come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Scored(Protocol):
    """Whatever has a loss and a ROUGE-L."""

    @property
    def loss(self) -> float: ...

    @property
    def rouge_l(self) -> float: ...


def pareto_front(points: Sequence[Scored]) -> list[int]:
    """Indices of the points that no other one beats, lowest loss first.

    One beats another when it is at least as good in both objectives and better in one. Of equals, all stay, in their
    order.
    """
    best_rouge = float("-inf")
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i].loss, -points[i].rouge_l, i)):
        last = points[front[-1]] if front else None
        same = last is not None and (last.loss, last.rouge_l) == (points[i].loss, points[i].rouge_l)
        if points[i].rouge_l > best_rouge or same:
            front.append(i)
            best_rouge = points[i].rouge_l
    return front
