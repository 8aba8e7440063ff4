"""When an answer passed each of its stages. Must not know who asked, nor what is done with the times."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["load", "queue", "prefill", "decode"]
"""load: its stack onto the base. queue: waiting for a place. prefill: its prompt is read. decode: the rest."""


@dataclass(slots=True)
class Timeline:
    """Moments in seconds since the epoch; None where the answer has not come so far."""

    asked: float = field(default_factory=time.time)
    loaded: float | None = None
    joined: float | None = None
    first_token: float | None = None
    ended: float | None = None

    def phases(self) -> Iterator[tuple[Phase, float, float]]:
        """Each phase that is over, with the moments it began and ended."""
        began = self.asked
        phases: tuple[tuple[Phase, float | None], ...] = (
            ("load", self.loaded),
            ("queue", self.joined),
            ("prefill", self.first_token),
            ("decode", self.ended),
        )
        for phase, ended in phases:
            if ended is None:
                return
            yield phase, began, max(began, ended)
            began = ended
