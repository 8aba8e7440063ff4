"""Python's search for garbage in a process that answers: it holds every thread up, for as long as it takes."""

from __future__ import annotations

import gc

_THRESHOLDS = (2_000, 20, 100)
"""Python's own (700, 10, 10) looks through everything every eight seconds at thirty requests a second, for 0.1 s, and
finds a hundred objects. Young ones, where nearly all garbage is, are looked through as before."""


def search_rarely() -> None:
    """From now on look seldom through what has been there for long, and never again through what is there by now."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
