"""Whose histories are evaluated: users of a file in the native format, with the split every method is given.

Must not know methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from app.cli.histories import History, read_histories
from app.repositories.history import sample_digest
from engine.history import MIN_SAMPLES, Sample, Split, split_in_time


@dataclass(frozen=True)
class Person:
    """One user of a set, and what may be learned of them.

    Args:
        split: samples of train, validation and test, each in time order.
    """

    set: str
    user: str
    profile: str
    split: Split[Sample]

    @property
    def known(self) -> tuple[Sample, ...]:
        """All that happened before the test part: what answers it may have learned or remember."""
        return (*self.split.train, *self.split.validation)

    def remembering(self, share: float) -> Person:
        """The same person with the latest share (0..1) of the train part only, at least one sample of it."""
        kept = max(1, round(share * len(self.split.train)))
        return replace(self, split=replace(self.split, train=self.split.train[-kept:]))


def read_people(name: str, paths: Sequence[Path], first: int | None = None) -> list[Person]:
    """The users of a set, in file order.

    A pair that comes twice counts once, as in the service. Users with too few samples for a split are left out before
    the first are counted.

    Args:
        first: so many users only; None: all.

    Raises:
        CliError: a file cannot be read.
        ValueError: no user is left.
    """
    histories = [history for path in paths for history in read_histories(path)]
    people = [person for history in histories if (person := _person(name, history)) is not None]
    if not people:
        raise ValueError(f"the set {name!r} holds no user with at least {MIN_SAMPLES} samples.")
    return people[:first]


def _person(name: str, history: History) -> Person | None:
    samples: dict[str, Sample] = {}
    for raw in history.samples:
        time = datetime.fromisoformat(raw["time"]) if "time" in raw else None
        sample = Sample(raw["query"], raw["response"], time, raw.get("kind", "dialogue"))
        samples.setdefault(sample_digest(sample.query, sample.response), sample)
    if len(samples) < MIN_SAMPLES:
        return None
    return Person(name, history.user_id, history.profile or "", split_in_time(list(samples.values())))
