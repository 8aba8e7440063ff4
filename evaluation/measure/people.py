"""Whose histories are evaluated: users of a file in the native format, with the split every method is given.

Must not know methods.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from app.cli.histories import History, read_histories
from app.repositories.history import sample_digest
from app.repositories.text import check_text
from engine.history import MIN_SAMPLES, Sample, Split, split_in_time

Side = Literal["queries", "responses"]
"""Which side of a pair the person wrote: a patient asks, somebody who helps others answers."""
ASKS: Side = "queries"
"""Where nothing is said."""

DIGITS = 12
"""Of a digest in a row."""
FEWEST_KNOWN = 8
"""Samples of the shortest history that is cut out of a longer one: two of them are for validation."""
SHOWN = 5
"""Names of users with too few samples who are told of; of more, how many."""


@dataclass(frozen=True)
class Person:
    """One user of a set, and what may be learned of them.

    Args:
        split: samples of train, validation and test, each in time order.
        wrote: the side of a pair that is the person's own words.
    """

    set: str
    user: str
    profile: str
    split: Split[Sample]
    wrote: Side = ASKS

    @property
    def known(self) -> tuple[Sample, ...]:
        """All that happened before the test part: what answers it may have learned or remember."""
        return (*self.split.train, *self.split.validation)

    @property
    def digest(self) -> str:
        """Of all that is known of them, in its parts, and what is asked (12 hex digits): rows that differ in it say
        nothing of each other."""
        told = repr((self.profile, self.split, self.wrote))
        return hashlib.sha256(told.encode()).hexdigest()[:DIGITS]

    def as_in(self, variant: str) -> Person:
        """The same person, with as much known of them as a variant of a grid says."""
        name, _, value = variant.partition("=")
        return self.remembering(float(value)) if name == "history" else self

    def remembering(self, share: float) -> Person:
        """The same person with the latest share (0..1) of what is known only, `FEWEST_KNOWN` samples at least.

        Three quarters of it are the train part, as of the whole; the test part stays.
        """
        latest = self.known[-max(FEWEST_KNOWN, round(share * len(self.known))) :]
        cut = -(-3 * len(latest) // 4)
        return replace(self, split=replace(self.split, train=latest[:cut], validation=latest[cut:]))


def read_people(
    name: str,
    paths: Sequence[Path],
    first: int | None = None,
    exclude: Collection[str] = (),
    tell: Callable[[str], None] = lambda _: None,
    wrote: Side | Mapping[str, Side] = ASKS,
) -> list[Person]:
    """The users of a set, in file order.

    A pair that comes twice counts once, as in the service; one with an empty side, which the service refuses, not at
    all. Users with too few samples for a split are left out before the first are counted. Both are told of.

    Args:
        first: so many users only; None: all.
        exclude: users who are left out before the first are counted, such as those that settings were chosen on, by
            their names in the file or their ids.
        tell: is told who and what is left out.
        wrote: the side of a pair that its person wrote, the same for all or by user.

    Raises:
        CliError: a file cannot be read.
        ValueError: a user is in two files, no user is left, or `wrote` or `exclude` names one who is not there.
        InvalidEncodingError: a text is none that can be kept.
    """
    everyone = [history for path in paths for history in read_histories(path)]
    sides, usual = ({}, wrote) if isinstance(wrote, str) else (wrote, ASKS)
    there = {called for history in everyone for called in _names(history)}
    for what, named in (("says what {} wrote", sides.keys()), ("leaves {} out", exclude)):
        if unknown := sorted(set(named) - there):
            raise ValueError(f"the set {name!r} {what.format(repr(unknown[0]))}, but holds no such user.")
    histories = [history for history in everyone if not set(_names(history)) & set(exclude)]
    twice = [user for user, count in Counter(history.user_id for history in histories).items() if count > 1]
    if twice:
        raise ValueError(
            f"user {twice[0]!r} is in two files of the set {name!r}: rows could not tell them apart. "
            "`milp import` with --format milp and --out makes one history of them, once the files are put together."
        )
    people, too_short = [], []
    for history in histories:
        person = _person(name, history, _side(history, sides, usual))
        if person is not None:
            people.append(person)
        else:
            too_short.append(history.user_id)
    if not people:
        raise ValueError(f"the set {name!r} holds no user with at least {MIN_SAMPLES} samples.")
    if too_short:
        some = ", ".join(too_short[:SHOWN]) + (", .." if len(too_short) > SHOWN else "")
        tell(f"the set {name!r}: {len(too_short)} with fewer than {MIN_SAMPLES} samples left out ({some})")
    if empty := sum(_has_empty_side(raw) for history in histories for raw in history.samples):
        tell(f"the set {name!r}: {empty} pairs left out, with an empty query or response")
    return people[:first]


def names_in(paths: Sequence[Path]) -> set[str]:
    """What users of these files may be called: their names there, and the ids that are made of them.

    Raises:
        CliError: a file cannot be read.
    """
    return {name for path in paths for history in read_histories(path) for name in _names(history)}


def _names(history: History) -> tuple[str, str]:
    return history.name, history.user_id


def _side(history: History, sides: Mapping[str, Side], usual: Side) -> Side:
    return next((sides[name] for name in _names(history) if name in sides), usual)


def _has_empty_side(raw: Mapping[str, str]) -> bool:
    return not raw["query"].strip() or not raw["response"].strip()


def _person(name: str, history: History, wrote: Side) -> Person | None:
    whose = f"of user {history.user_id!r} in the set {name!r}"
    check_text(f"The profile {whose}", history.profile or "")
    samples: dict[str, Sample] = {}
    for raw in history.samples:
        if _has_empty_side(raw):
            continue
        check_text(f"A query {whose}", raw["query"])
        check_text(f"A response {whose}", raw["response"])
        time = datetime.fromisoformat(raw["time"]) if "time" in raw else None
        sample = Sample(raw["query"], raw["response"], time, raw.get("kind", "dialogue"))
        samples.setdefault(sample_digest(sample.query, sample.response), sample)
    if len(samples) < MIN_SAMPLES:
        return None
    split = split_in_time(sorted(samples.values(), key=_when))
    return Person(name, history.user_id, history.profile or "", split, wrote)


def _when(sample: Sample) -> datetime:
    """What has no time happened when the service received it, which is after all that has one."""
    return sample.time or datetime.max.replace(tzinfo=UTC)
