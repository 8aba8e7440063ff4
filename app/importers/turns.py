"""Turns of a conversation as pairs of question and answer. Knows no format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turns:
    """What a conversation holds.

    Args:
        pairs: each run of questions with the answer after it.
        unanswered: questions at the end.
        unasked: answers that no question comes before.
    """

    pairs: list[tuple[str, str]]
    unanswered: int
    unasked: int


def paired(turns: Iterable[tuple[bool, str]]) -> Turns:
    """Pair turns.

    Args:
        turns: (whether it is an answer, its text), none of them blank.
    """
    pairs: list[tuple[str, str]] = []
    asked: list[str] = []
    unasked = 0
    for is_answer, text in turns:
        if not is_answer:
            asked.append(text)
        elif asked:
            pairs.append(("\n".join(asked), text))
            asked = []
        else:
            unasked += 1
    return Turns(pairs, len(asked), unasked)
