"""When a delivery that failed is tried again. Pure."""

from __future__ import annotations

import random
from datetime import timedelta

PAUSES_SECONDS = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""After the first attempt, the second, and so on: the schedule that Standard Webhooks suggests, over three days."""
_LONGEST_SECONDS = 86_400.0
_JITTER = 0.2
"""A pause is up to so much longer: those that failed together do not come back together."""
_own = random.Random()
"""Python's own has a state that whoever wants to repeat something sets."""


def pause_after(tried: int, retry_after: float) -> timedelta | None:
    """How long to wait after so many attempts that failed; None: give up.

    Args:
        retry_after: seconds that the receiver asked for; it is left alone for so long, within a day.
    """
    if tried > len(PAUSES_SECONDS):
        return None
    pause = PAUSES_SECONDS[tried - 1] * _own.uniform(1, 1 + _JITTER)
    return timedelta(seconds=max(pause, min(retry_after, _LONGEST_SECONDS)))
