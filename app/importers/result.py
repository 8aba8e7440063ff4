"""What an importer gives: users with samples in time order, and everything it left out, by reason and place.

Must not know any format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from app.importers.names import valid_user_id
from engine.history import Sample

_PLACES_KEPT = 5
_LAST = datetime.max.replace(tzinfo=UTC)

EMPTY = "pair with an empty side"
DUPLICATE = "pair that the user has already"
UNKEEPABLE = "text with a NUL or half a character, which no database keeps"
UNANSWERED = "question that nobody answers"
UNASKED = "answer without a question"
TEXTLESS = "turn without a text"
REPLACED = "profile that a later one of its user replaced"
PAIRLESS = "profile of a user of whom no pair is kept"
UNREAD_TIME = "time that cannot be read; its pair was kept without it"


@dataclass(frozen=True, slots=True)
class Limits:
    """Longest texts that are kept, in characters."""

    sample_chars: int
    profile_chars: int


@dataclass(frozen=True, slots=True)
class ImportedUser:
    """One user of a file.

    Args:
        name: as the file gives it, or made from it.
        samples: in time order, those without a time last, else in the file's; at least one.
        profile: None where the file has none.
    """

    name: str
    samples: tuple[Sample, ...]
    profile: str | None = None

    @property
    def user_id(self) -> str:
        """The name as an id that the service takes."""
        return valid_user_id(self.name)


@dataclass(frozen=True, slots=True)
class Dropped:
    """What was left out for one reason.

    Args:
        first: the first few places, from 1, each once.
    """

    reason: str
    count: int
    first: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """A file, converted.

    Args:
        users_are: who counts as a user, in words.
        place: what is counted in `Dropped.first`: "line", "question", ...
    """

    users: tuple[ImportedUser, ...]
    dropped: tuple[Dropped, ...]
    users_are: str
    place: str = "line"

    @property
    def samples(self) -> int:
        return sum(len(user.samples) for user in self.users)

    def in_words(self) -> Iterator[str]:
        """What came of the file, a sentence a line."""
        yield f"{_counted(self.samples, 'sample')} of {_counted(len(self.users), 'user')}. Users are {self.users_are}."
        for dropped in self.dropped:
            yield f"Left out: {dropped.count} x {dropped.reason} ({self._places(dropped)})."

    def _places(self, dropped: Dropped) -> str:
        places = ", ".join(map(str, dropped.first))
        if dropped.count > len(dropped.first):
            return f"first: {self.place} {places}"
        return f"{self.place} {places}"


@dataclass(slots=True)
class _User:
    samples: list[Sample] = field(default_factory=list)
    known: set[tuple[str, str]] = field(default_factory=set)
    profile: str | None = None
    profile_place: int = 0


class Collector:
    """Gathers what a format finds. Nothing that it refuses is lost silently: it is counted under its reason."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._users: dict[str, _User] = {}
        self._dropped: dict[str, tuple[int, list[int]]] = {}

    def add(
        self, name: str, query: str, response: str, place: int, time: datetime | None = None, kind: str = "dialogue"
    ) -> None:
        """One pair of a user, unless it is empty, too long, unkeepable or known."""
        if reason := self._wrong(query, response, kind):
            self.drop(reason, place)
            return
        user = self._users.setdefault(name, _User())
        # White space does not count, as it does not for the samples that are stored.
        pair = (" ".join(query.split()), " ".join(response.split()))
        if pair in user.known:
            self.drop(DUPLICATE, place)
            return
        user.known.add(pair)
        user.samples.append(Sample(query, response, time, kind))

    def profile(self, name: str, text: str, place: int) -> None:
        """What is said about a user; the last word counts, and what it replaces is told of."""
        if "\0" in text or not _is_unicode(text):
            self.drop(UNKEEPABLE, place)
        elif len(text) > self._limits.profile_chars:
            self.drop(f"profile over {self._limits.profile_chars} characters; its user was kept without it", place)
        else:
            user = self._users.setdefault(name, _User())
            if user.profile is not None and user.profile != text:
                self.drop(REPLACED, user.profile_place)
            user.profile, user.profile_place = text, place

    def drop(self, reason: str, place: int, count: int = 1) -> None:
        """Count what is left out."""
        if count < 1:
            return
        known, places = self._dropped.get(reason, (0, []))
        if len(places) < _PLACES_KEPT and place not in places:
            places.append(place)
        self._dropped[reason] = (known + count, places)

    def result(self, users_are: str, place: str = "line") -> Imported:
        for user in self._users.values():
            if not user.samples:
                self.drop(PAIRLESS, user.profile_place)
        users = tuple(
            ImportedUser(name, tuple(sorted(user.samples, key=lambda s: s.time or _LAST)), user.profile)
            for name, user in self._users.items()
            if user.samples
        )
        dropped = tuple(Dropped(reason, count, tuple(first)) for reason, (count, first) in self._dropped.items())
        return Imported(users, dropped, users_are, place)

    def _wrong(self, query: str, response: str, kind: str) -> str | None:
        if not query.strip() or not response.strip():
            return EMPTY
        if max(len(query), len(response)) > self._limits.sample_chars:
            return f"pair with a side over {self._limits.sample_chars} characters"
        if "\0" in query + response + kind or not _is_unicode(query + response + kind):
            return UNKEEPABLE
        return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
