"""Which of a person's samples are typical of them: those whose responses are most like the person's others.

By words, not tokens: those of punctuation and the end make short answers look typical. Must not know models or
training.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from statistics import fmean

from engine.words import words_of

COMPARED = 200
"""Most others that a response is compared with, evenly spaced: all of a long history's would take minutes."""


class Likeness:
    """ROUGE-L F (Lin, 2004) of sequences to one sequence, 0..100.

    The longest common subsequence a machine word at a time (Hyyro, 2004, "Bit-parallel LCS-length computation
    revisited"): it is asked for by the million.
    """

    def __init__(self, reference: Sequence[Hashable]) -> None:
        self._length = len(reference)
        self._all = (1 << self._length) - 1
        self._places: dict[Hashable, int] = {}
        for place, word in enumerate(reference):
            self._places[word] = self._places.get(word, 0) | 1 << place

    def of(self, words: Iterable[Hashable]) -> float:
        free, count = self._all, 0
        for word in words:
            count += 1
            hit = free & self._places.get(word, 0)
            free = (free + hit) | (free - hit)
        common = self._length - (free & self._all).bit_count()
        return 200.0 * common / (count + self._length) if common else 0.0


def most_typical(texts: Sequence[str], share: float) -> list[int]:
    """Places, in order, of the share (0..1) of the responses with the highest mean likeness to the others; one at least
    where there is any. Of equals the earlier ones; all where none is like another."""
    if share >= 1 or len(texts) < 2:
        return list(range(len(texts)))
    responses = [words_of(text) for text in texts]
    every = -(-len(responses) // COMPARED)
    others = [(place, Likeness(responses[place])) for place in range(0, len(responses), every)]

    def to_the_others(place: int) -> float:
        return fmean([other.of(responses[place]) for its, other in others if its != place] or [0.0])

    likeness = [to_the_others(place) for place in range(len(responses))]
    if not any(likeness):
        return list(range(len(responses)))
    best = sorted(range(len(responses)), key=lambda place: -likeness[place])
    return sorted(best[: max(1, round(share * len(responses)))])
