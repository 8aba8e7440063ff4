"""A table of cells, and text that Markdown shows as it is: names of users, sets and models come from outside.

Knows Markdown only. Must not know what a cell means.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~])")


@dataclass(frozen=True, slots=True)
class Table:
    """Plain cells under a head, and what has to be said of them.

    Args:
        note: a sentence below; where there are no rows, why there are none.
        best: (row, column) of the cells that stand out.
    """

    title: str
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    note: str = ""
    best: frozenset[tuple[int, int]] = field(default_factory=frozenset)

    def markdown(self, level: int = 3) -> str:
        """The table with its title as a heading of that level."""
        parts = [f"{'#' * level} {escaped(self.title)}"]
        if self.rows:
            lines = [_line([escaped(cell) for cell in self.head]), "|---" * len(self.head) + "|"]
            lines += [_line(self._cells(number, row)) for number, row in enumerate(self.rows)]
            parts.append("\n".join(lines))
        return "\n\n".join([*parts, *([escaped(self.note)] if self.note else [])])

    def _cells(self, number: int, row: Sequence[str]) -> list[str]:
        cells = [escaped(cell) for cell in row]
        return [f"**{cell}**" if (number, place) in self.best else cell for place, cell in enumerate(cells)]


def escaped(text: str) -> str:
    """The text on one line, with nothing in it that Markdown or HTML would take for markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
