"""`msp`: lines of personalised dialogue as MSP reads them (Zhong and others, 2022, *Less is More*, NAACL) and as the
data it was made of, Pchatbot (Qian and others, 2021, SIGIR), has them.

Must not know the service.
"""

from __future__ import annotations

import hashlib
import re

from app.errors import InvalidImportError
from app.importers.given import Given
from app.importers.reading import utc_time
from app.importers.result import UNREAD_TIME, Collector, Imported

_HASHES = "###"
_PCHATBOT_COLUMNS = 6
_WIDE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
_GAPS = re.compile(f"(?<=[{_WIDE}]) +| +(?=[{_WIDE}])")
"""Chinese, Japanese and Korean come cut into words with spaces between, which nobody writes."""


def read(given: Given) -> Imported:
    """A pair a line, in one of two shapes, told apart by the line itself:

    * `query, its user, its time, response, its user, its time`, with tabs between: of the user who responded.
      Pchatbot's times are seconds that its makers have shifted: the days are not true, the order is.
    * `query, response, history...`, with tabs or `###` between. The history is what that user said before, without
      what it answered: it tells users apart where none is named, and is not learned. It may be the same in all lines
      of a user, grow from line to line, or be the latest part of what they said. A first line without any is left out.
    """
    found, speakers = Collector(given.limits), _Speakers()
    named, nameless = False, list[int]()
    for number, line in given.file.lines():
        hashed = line.split(_HASHES)
        fields = hashed if len(hashed) > 1 else line.split("\t")
        if len(fields) < 2:
            raise InvalidImportError(
                f"{given.file.at(number)} has one field. Put a tab between query, response and history."
            )
        if len(hashed) < 2 and _is_pchatbot(fields):
            query, _, _, response, user, written = fields[:_PCHATBOT_COLUMNS]
            time = utc_time(written.strip())
            if time is None:
                found.drop(UNREAD_TIME, number)
            found.add(f"msp-{user.strip()}", _joined(query), _joined(response), number, time)
            found.drop("column after the sixth", number, len(fields) - _PCHATBOT_COLUMNS)
            named = True
            continue
        history = [text for part in fields[2:] for text in part.split("\t") if text.strip()]
        if not history and given.user is None:
            nameless.append(number)
            continue
        user_name = given.user or speakers.of(history, fields[1])
        found.add(user_name, _joined(fields[0]), _joined(fields[1]), number)
        found.drop("earlier response without what it answered", number, len(history))
        named = True
    if nameless and not named:
        raise InvalidImportError(f"{given.file.at(nameless[0])} has neither user nor history. {given.how_to_name_one}")
    for number in nameless:
        found.drop("line with neither user nor history", number)
    return found.result("those who responded: by their id, the one named for the file, or by what they said before")


def _is_pchatbot(fields: list[str]) -> bool:
    """Whether ids and times stand where that data has them; a history of so many columns has text there."""
    if len(fields) < _PCHATBOT_COLUMNS:
        return False
    users, times = (fields[1], fields[4]), (fields[2], fields[5])
    return all(user.strip() and " " not in user.strip() for user in users) and all(
        re.fullmatch(r"[\d\s:./TZ+-]+", time) for time in times
    )


class _Speakers:
    """Who said a line, by what they said before: the same as before another line of theirs, that and its response, or
    the latest part of both. Texts are never compared one by one: what everybody says would make everybody the same."""

    def __init__(self) -> None:
        self._who: dict[str, str] = {}

    def of(self, history: list[str], response: str) -> str:
        """The name of the one who had said this, else a new one."""
        said = [text.strip() for text in history]
        name = self._who.get(_digest(said)) or f"msp-{_digest(history)[:12]}"
        since = [*said, response.strip()]
        # One text alone is too little to go on: others say it too.
        latest = since[-len(said) :] if len(said) > 1 else since
        for texts in (said, since, latest):
            self._who.setdefault(_digest(texts), name)
        return name


def _digest(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _joined(text: str) -> str:
    return _GAPS.sub("", text.strip())
