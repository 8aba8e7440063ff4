"""The words of erasures: what is erased, and how those stand who may still hold it."""

from __future__ import annotations

from enum import StrEnum


class ErasureKind(StrEnum):
    """What was erased of a user: everything, or the history with what was learned from it."""

    user = "user"
    history = "history"


class HolderState(StrEnum):
    """Whether a holder still has something: it waits, forgot, ended, or fell silent for longer than its lease."""

    waiting = "waiting"
    forgot = "forgot"
    ended = "ended"
    lapsed = "lapsed"
