"""What a judge said, lines of JSON without texts, and win rates made of them.

Both orders of two answers are asked: where they disagree, or where the judge says so, it is a tie. Must not know who
the judge is or how it is asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.lines import append_line, read_lines
from evaluation.statistics import Estimate, estimate

FILE = "judgements.jsonl"
FIRST, SECOND, TIE, UNREADABLE = "first", "second", "tie", "unreadable"


@dataclass(frozen=True)
class Judgement:
    """Of two methods' answers to one query, which is better.

    Args:
        sample: place of the query in the user's test part.
        verdicts: with the first method's answer shown first, and with it shown second; each FIRST, SECOND, TIE or
            UNREADABLE, which is a reply that says none of these.
        judge: the model that was asked.
    """

    set: str
    base: str
    user: str
    seed: int
    sample: int
    first: str
    second: str
    verdicts: Sequence[str]
    judge: str

    @property
    def key(self) -> tuple[str, ...]:
        return (*self.pair_key, self.judge)

    @property
    def pair_key(self) -> tuple[str, ...]:
        """What was judged, as `Pair.key`."""
        return self.set, self.base, self.user, str(self.seed), str(self.sample), self.first, self.second

    @property
    def outcome(self) -> str:
        """FIRST or SECOND where both orders say so, UNREADABLE where one reply was, else TIE."""
        if UNREADABLE in self.verdicts:
            return UNREADABLE
        said = set(self.verdicts)
        return self.verdicts[0] if len(said) == 1 else TIE


@dataclass(frozen=True, slots=True)
class WinRate:
    """The first method against the second on one set and base, by one judge.

    Args:
        won, tied, lost: queries, seeds counted separately.
        unreadable: queries whose judge's reply could not be read; they count nowhere else.
        rate: mean over users of each one's share of wins, a tie being half of one; 0..1.
    """

    set: str
    base: str
    judge: str
    first: str
    second: str
    won: int
    tied: int
    lost: int
    unreadable: int
    rate: Estimate | None

    @property
    def judged(self) -> int:
        return self.won + self.tied + self.lost


def append(folder: Path, judgement: Judgement) -> None:
    """Write one line into the run's folder."""
    append_line(folder / FILE, judgement)


def read_judgements(folder: Path) -> list[Judgement]:
    """All judgements of a run, each once; none where no judge was asked."""
    return list({judgement.key: judgement for judgement in read_lines(folder / FILE, Judgement)}.values())


def win_rates(judgements: Iterable[Judgement]) -> list[WinRate]:
    """One for each set, base, judge and pair of methods, in the order of their names."""
    found: dict[tuple[str, str, str, str, str], list[Judgement]] = defaultdict(list)
    for given in judgements:
        found[given.set, given.base, given.judge, given.first, given.second].append(given)
    return [_win_rate(key, found[key]) for key in sorted(found)]


def _win_rate(key: tuple[str, str, str, str, str], judgements: Sequence[Judgement]) -> WinRate:
    outcomes = [given.outcome for given in judgements]
    worth = {FIRST: 1.0, TIE: 0.5, SECOND: 0.0}
    users: dict[str, list[float]] = defaultdict(list)
    for given in judgements:
        if given.outcome != UNREADABLE:
            users[given.user].append(worth[given.outcome])
    return WinRate(
        *key,
        won=outcomes.count(FIRST),
        tied=outcomes.count(TIE),
        lost=outcomes.count(SECOND),
        unreadable=outcomes.count(UNREADABLE),
        rate=estimate({user: sum(values) / len(values) for user, values in users.items()}),
    )
