"""What a newer measurement makes stale of what was measured before: rows that depend on it, and what was said of
answers that are others now.

Must not know files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from evaluation.names import BASELINES
from evaluation.rows import Row

_ANSWERS = ("rouge_1", "rouge_l", "persona_f1", "length", "distinct_1", "distinct_2")
"""Scores that are alike where the answers are."""
_KEPT_DIGITS = 1e-5
"""Committed numbers have six digits."""


class Opinion(Protocol):
    """What a judge or a person said of two methods' answers."""

    @property
    def pair_key(self) -> Sequence[str]: ...


Said = TypeVar("Said", bound=Opinion)


def rows_not_stale(known: Sequence[Row], newer: Sequence[Row]) -> list[Row]:
    """The known rows but those that are to be measured anew beside the newer ones.

    Where a newer MiLP row has another stack, what was trained as the known one says: the memory's row of that user, and
    another user's stacks of that seed, for whoever had it. Of a baseline that answers otherwise now, what stood for
    other seeds: it has no chance in it, so one measurement is every seed's.
    """
    chose = {row.key: _stack(row) for row in newer if row.method == "milp"}
    changed = [row for row in known if row.key in chose and _stack(row) != chose[row.key]]
    users = {(_grid_place(row), row.user) for row in changed}
    places = {place for place, _ in users}
    baselines = {row.key[:-1]: row for row in newer if row.method in BASELINES}
    return [
        row
        for row in known
        if not (row.method == "milp_memory" and (_grid_place(row), row.user) in users)
        and not (row.method == "other_user" and _grid_place(row) in places)
        and not (row.key[:-1] in baselines and not _answer_alike(row, baselines[row.key[:-1]]))
    ]


def opinions_not_stale(opinions: Iterable[Said], known: Sequence[Row], newer: Sequence[Row]) -> list[Said]:
    """What was said but of answers that newer rows replace by others."""
    now = {row.key: row for row in newer}
    changed = {row.key for row in known if row.key in now and not _answer_alike(row, now[row.key])}
    return [said for said in opinions if not changed.intersection(_rows_of(said))]


def _stack(row: Row) -> tuple[object, ...]:
    """What is trained again for who depends on a MiLP row: configuration, seed and passes, and on what and how."""
    return row.layers, row.n, row.r, row.trial, row.passes, row.options, row.history, row.weights


def _rows_of(said: Opinion) -> list[tuple[str, ...]]:
    """Keys of the two rows whose answers it is about."""
    of_set, base, user, seed, _, *methods = said.pair_key
    return [(of_set, base, user, method, "", seed) for method in methods]


def _answer_alike(one: Row, other: Row) -> bool:
    return all(math.isclose(getattr(one, name), getattr(other, name), rel_tol=_KEPT_DIGITS) for name in _ANSWERS)


def _grid_place(row: Row) -> tuple[object, ...]:
    return row.set, row.base, row.variant, row.seed
