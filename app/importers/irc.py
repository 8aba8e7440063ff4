"""`irc`: a chat log with hand-made reply links (Kummerfeld and others, 2019, *A Large-Scale Corpus for Conversation
Disentanglement*, ACL): `*.ascii.txt` or `*.raw.txt`, and as second file its `*.annotation.txt`.

A reply and what it answers are a pair of the one who replies. Nicknames become numbers: of all who speak in a log, come
or go. Must not know the service.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.errors import InvalidImportError
from app.importers.given import Given
from app.importers.reading import Source
from app.importers.result import Collector, Imported

_MESSAGE = re.compile(r"\[(\d{1,2}):(\d\d)(?::\d\d)?\]\s*<([^>\s]+)>\s?(.*)")
_LINK = re.compile(r"\s*(\d{1,9})\s+(\d{1,9})\s*-?\s*")
"""No log has lines of more digits, and Python refuses to read numbers of very many."""
_EVENT = re.compile(r"===\s+(\S+)\s.*?\b(?:has (?:joined|left|quit)\b|is now known as\s+(\S+))")
"""Who comes, goes, or takes another name: people who are spoken to, though they may say nothing."""
_DATE = re.compile(r"(?:19|20)\d\d-\d\d-\d\d")
_WORD = re.compile(r"[\w\[\]\\^{}|`-]+")
_ADDRESS = re.compile(r"\s*(?:<(\S+?)>|(\S+?)\s*[:,])\s*")
_REPLIES_TO_NONE = "message that replies to none"
_SHORTEST_NAME = 3
"""Shorter nicknames are words too often to be replaced within a text."""
_HALF_DAY, _DAY = 12 * 60, 24 * 60
_JITTER = 60
"""A clock that goes back by no more, in minutes, was corrected; by more, it has gone round."""


@dataclass(frozen=True, slots=True)
class _Message:
    name: str
    text: str
    hour: int
    minute: int


def read(given: Given) -> Imported:
    """A pair for each link from a message to one that somebody else wrote.

    What makes no pair is counted: links, messages without one, and lines that are no message, as who joins or leaves.

    The day is that of the text's file name (as in `2008-06-03.train-a.ascii.txt`), the time the log's own, taken as
    UTC; a file name without a day gives no times.
    """
    if given.second is None:
        raise InvalidImportError("The log needs its annotation as second file: the replies stand in that.")
    lines = given.file.text.split("\n")
    messages = {number: message for number, line in enumerate(lines) if (message := _message(line)) is not None}
    if not messages:
        raise InvalidImportError(f"{given.file.at(1)}: there is no message like `[03:11] <name> text` in this file.")
    times = _times(messages, given.file.name)
    names = _numbered(messages, lines)
    found = Collector(given.limits)
    replying: set[int] = set()
    replied_to: set[int] = set()
    for later, earlier in sorted(_links(given.second, len(lines))):
        replying.add(later)
        replied_to.add(earlier)
        answer, asked = messages.get(later), messages.get(earlier)
        if earlier == later:
            if answer is not None:
                found.drop(_REPLIES_TO_NONE, later + 1)
        elif answer is None or asked is None:
            found.drop("reply to or by a line that is no message", later + 1)
        elif answer.name.lower() == asked.name.lower():
            found.drop("reply to oneself", later + 1)
        else:
            query, response = _without_names(asked.text, names), _without_names(answer.text, names)
            found.add(_user_of(answer.name), query, response, later + 1, times.get(later))
    for number, line in enumerate(lines):
        if number not in messages:
            found.drop("line that is no message", number + 1, 1 if line.strip() else 0)
        elif number not in replying:
            missing = "message that the annotation does not have"
            found.drop(_REPLIES_TO_NONE if number in replied_to else missing, number + 1)
    return found.result("nicknames, each with a number in its place that is the same in every log")


def _message(line: str) -> _Message | None:
    match = _MESSAGE.fullmatch(line.removesuffix("\r"))
    if match is None or int(match[1]) > 23 or int(match[2]) > 59:
        return None
    return _Message(match[3], match[4], int(match[1]), int(match[2]))


def _links(file: Source, lines: int) -> Iterator[tuple[int, int]]:
    """(reply, what it answers) for each link, lines of the log from 0."""
    for number, line in file.lines():
        match = _LINK.fullmatch(line)
        if match is None:
            raise InvalidImportError(f"{file.at(number)} is no link. Each is two numbers of lines: `12 15 -`.")
        # What is answered stands before its answer, whichever the annotation names first.
        earlier, later = sorted((int(match[1]), int(match[2])))
        if later >= lines:
            raise InvalidImportError(
                f"{file.at(number)} links line {later}, but the log has {lines} lines. Give the annotation of this log."
            )
        yield later, earlier


def _times(messages: dict[int, _Message], file_name: str) -> dict[int, datetime]:
    """When each message was written, by its line; nothing where the file's name has no day.

    Logs of the first years have hours from 1 to 12 without saying which half of the day; they are taken to begin in
    the morning.
    """
    match = _DATE.search(file_name)
    if match is None:
        return {}
    try:
        day = datetime.fromisoformat(match[0]).replace(tzinfo=UTC)
    except ValueError:
        return {}
    hours = {message.hour for message in messages.values()}
    round_of = _DAY if 0 in hours or max(hours) > 12 else _HALF_DAY
    times, before, rounds = {}, 0, 0
    for number, message in messages.items():
        clock = (message.hour * 60 + message.minute) % round_of
        if clock < before - _JITTER:
            rounds += 1
            before = clock
        # Never back, for a history is in time order.
        before = max(before, clock)
        times[number] = day + timedelta(minutes=rounds * round_of + before)
    return times


def _user_of(name: str) -> str:
    """A number for a nickname: the same in all logs, so that they add up to one history."""
    return f"irc-{int(hashlib.sha256(name.lower().encode()).hexdigest(), 16) % 10**10:010}"


def _numbered(messages: dict[int, _Message], lines: Sequence[str]) -> dict[str, str]:
    """Those who speak in this log, come, or go, in small letters, each with a short number for the texts."""
    spoke = [message.name for message in messages.values()]
    seen = [name for line in lines if (event := _EVENT.match(line)) for name in event.groups() if name]
    names = dict.fromkeys(name.lower() for name in [*spoke, *seen])
    return {name: f"#{number}" for number, name in enumerate(names, start=1)}


def _without_names(text: str, names: dict[str, str]) -> str:
    """The text without the name it is addressed to, and with numbers for the others, however they are written."""
    address = _ADDRESS.match(text)
    if address is not None and (address[1] or address[2]).lower() in names:
        text = text[address.end() :]
    return _WORD.sub(lambda word: _number_of(word[0], names), text).strip()


def _number_of(word: str, names: dict[str, str]) -> str:
    candidates: Sequence[str] = (word, word.rstrip("-|"))
    for name in candidates:
        if len(name) >= _SHORTEST_NAME and name.lower() in names:
            return names[name.lower()] + word[len(name) :]
    return word
