"""A user's history as the engine sees it: samples in time order, and the split into train, validation, test.

Knows text only: no tensors, no database.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Generic, TypeVar

from engine.errors import HistoryTooShortError

TRAIN_FRACTION = Fraction(3, 5)
VALIDATION_FRACTION = Fraction(1, 5)
KNOWN_FRACTION = TRAIN_FRACTION + VALIDATION_FRACTION
"""60 / 20 / 20 % in time order. MiLP (section 4.1) has 70 / 10 / 20; here what is published learns the validation part
too, so that a larger one costs it nothing, and a tenth of a hundred samples tells little of ROUGE-L. Exact fractions,
for in floating point 0.6 * 95 is less than 57 and would cost that user a training sample."""
MIN_SAMPLES = 20
"""The fewest that leave four for validation and four for test."""

PROFILE_QUERY = "What do you know about me?"
PROFILE_KIND = "profile"

# A sentence ends at . ! ? (or the full-width ones) before white space; "e.g. x" may be cut, which does no harm.
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """One (query, response) pair of a user's history, with time and kind."""

    query: str
    response: str
    time: datetime | None = None
    kind: str = "dialogue"


@dataclass(frozen=True, slots=True)
class Split(Generic[T]):
    """Train, validation and test part of one history, each in time order, disjoint, together everything."""

    train: tuple[T, ...]
    validation: tuple[T, ...]
    test: tuple[T, ...]


def split_in_time(samples: Sequence[T], min_samples: int = MIN_SAMPLES) -> Split[T]:
    """Split a history that is already in time order: first 60 % train, next 20 % validation, last 20 % test.

    Raises:
        HistoryTooShortError: fewer than `min_samples`.
    """
    count = len(samples)
    if count < min_samples:
        raise HistoryTooShortError(
            f"{count} samples are too few to personalise: at least {min_samples} are needed "
            "(60 % train, 20 % validation, 20 % test). Send more of this user's history."
        )
    train_end = int(count * TRAIN_FRACTION)
    validation_end = train_end + max(1, int(count * VALIDATION_FRACTION))
    return Split(tuple(samples[:train_end]), tuple(samples[train_end:validation_end]), tuple(samples[validation_end:]))


def profile_samples(profile: str) -> list[Sample]:
    """A user's profile as training samples, one for each sentence of each line, without repetitions.

    The facts of a profile are learned as answers to one question that no history asks by chance (`PROFILE_QUERY`).
    """
    lines = (line.strip(" \t-*•") for line in profile.splitlines())
    facts = (fact.strip() for line in lines for fact in _SENTENCE_END.split(line))
    return [Sample(PROFILE_QUERY, fact, kind=PROFILE_KIND) for fact in dict.fromkeys(facts) if fact]
