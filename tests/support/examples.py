"""How many examples property tests try: few and always the same in every run, more and other ones in `make fuzz`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("FUZZ", "1"))
"""How many times as many as in every run."""


def tried(examples: int) -> settings:
    """Settings of a test that tries so many examples in every run."""
    return settings(
        max_examples=examples * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
