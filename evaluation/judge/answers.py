"""The texts of a run that was asked to keep them, answers.jsonl, and pairs of two methods' answers to one query.

Texts stay in the run's folder. Must not know who judges them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evaluation.lines import append_line, read_lines
from evaluation.rows import OfCell

FILE = "answers.jsonl"

PAIRS = tuple(("milp", other) for other in ("base", "dictionary_memory", "malp", "default_lora", "random"))
"""Who is set against whom: MiLP against whatever it should be better than."""


@dataclass(frozen=True, kw_only=True)
class Answers(OfCell):
    """What one method said to one user's test part: the i-th answer is to the i-th query, really answered by the i-th
    reference."""

    answers: list[str] = field(repr=False)
    queries: list[str] = field(repr=False)
    references: list[str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two methods' answers to one query. `sample` is its place in the test part."""

    set: str
    base: str
    user: str
    seed: int
    sample: int
    first: str
    second: str
    query: str = field(repr=False)
    reference: str = field(repr=False)
    answers: tuple[str, str] = field(repr=False)

    @property
    def key(self) -> tuple[str, ...]:
        """What is compared, without the texts."""
        return self.set, self.base, self.user, str(self.seed), str(self.sample), self.first, self.second


def keep_answers(folder: Path, answers: Answers) -> None:
    """Write one line into the run's folder."""
    append_line(folder / FILE, answers)


def read_answers(folder: Path) -> list[Answers]:
    """All kept answers of a run; none where it kept none.

    Of a cell that was measured again after an interruption, those that its row is of: the last.
    """
    return list({found.key: found for found in read_lines(folder / FILE, Answers)}.values())


def pairs_of(
    kept: Sequence[Answers], methods: Sequence[tuple[str, str]] = PAIRS, samples: int | None = None
) -> Iterator[Pair]:
    """Pairs of answers, by user, seed and query. A seed is one of the first method's; the second's is the same where it
    has that one, else its lowest, for a prompt does not depend on a seed.

    Args:
        samples: of a user at most so many, spread evenly over the test part; None: all.

    Raises:
        ValueError: two methods were not asked the same.
    """
    standard = [answers for answers in kept if not answers.variant]
    for first_name, second_name in methods:
        for first in (answers for answers in standard if answers.method == first_name):
            second = _partner(first, standard, second_name)
            if second is None:
                continue
            if first.queries != second.queries:
                raise ValueError(
                    f"{first_name} and {second_name} were asked different queries for user {first.user!r} of "
                    f"{first.set}: their answers cannot be compared; keep the texts of one run"
                )
            for place in _spread(len(first.queries), samples):
                yield Pair(
                    set=first.set,
                    base=first.base,
                    user=first.user,
                    seed=first.seed,
                    sample=place,
                    first=first_name,
                    second=second_name,
                    query=first.queries[place],
                    reference=first.references[place],
                    answers=(first.answers[place], second.answers[place]),
                )


def _partner(first: Answers, kept: Sequence[Answers], method: str) -> Answers | None:
    same = [other for other in kept if (other.set, other.base, other.user) == (first.set, first.base, first.user)]
    candidates = [other for other in same if other.method == method]
    return min(candidates, key=lambda other: (other.seed != first.seed, other.seed), default=None)


def _spread(size: int, most: int | None) -> list[int]:
    if most is None or most >= size:
        return list(range(size))
    if most <= 1:
        return [0][:most]
    return sorted({round(place * (size - 1) / (most - 1)) for place in range(most)})
