"""The table of formats, and the one way to import a file of any.

A new format is a module with a `read`, a row here, and a row in the README. Must not know HTTP or the database.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from app.errors import EmptyHistoryError, InvalidImportError
from app.importers import amazonqa, csv_table, irc, lamp, malp, milp, msp, openai_chat
from app.importers.given import Given
from app.importers.result import Imported

FormatName = Literal["milp", "openai-chat", "csv", "lamp", "amazonqa", "malp", "msp", "irc"]


@dataclass(frozen=True, slots=True)
class Format:
    """A format.

    Args:
        second: what its second file is, None where it has none.
        names_users: whether its files always say whose a pair is.
    """

    read: Callable[[Given], Imported]
    second: str | None = None
    second_needed: bool = False
    names_users: bool = True


FORMATS: dict[FormatName, Format] = {
    "milp": Format(milp.read),
    "openai-chat": Format(openai_chat.read, names_users=False),
    "csv": Format(csv_table.read, names_users=False),
    "lamp": Format(lamp.read, "the questions' outputs"),
    "amazonqa": Format(amazonqa.read),
    "malp": Format(malp.read, names_users=False),
    "msp": Format(msp.read, names_users=False),
    "irc": Format(irc.read, "the log's annotation", second_needed=True),
}
NAMES: tuple[str, ...] = get_args(FormatName)


def format_of(name: str) -> Format | None:
    """The format of this name, None where there is none."""
    return next((known for key, known in FORMATS.items() if key == name), None)


def convert(name: str, given: Given) -> Imported:
    """A file's users, at least one.

    Raises:
        InvalidImportError: there is no such format, a file is missing or one too many, or a file is not of the format.
        InvalidEncodingError, InvalidJsonError, InvalidInputError: a place in it is wrong.
        EmptyHistoryError: not one pair of it can be used.
    """
    known = format_of(name)
    if known is None:
        raise InvalidImportError(f"There is no format {name!r}. It is one of {', '.join(NAMES)}.")
    if known.second is None and given.second is not None:
        raise InvalidImportError(f"The format {name} has no second file. Leave it out.")
    if known.names_users and given.user is not None:
        raise InvalidImportError(f"Files of the format {name} say themselves whose a history is. Leave the user out.")
    if known.second_needed and given.second is None:
        raise InvalidImportError(f"The format {name} needs a second file: {known.second}.")
    if given.second is not None:
        given = replace(given, second=replace(given.second, label="second file, "))
    imported = known.read(given)
    if not imported.users:
        left_out = " ".join(list(imported.in_words())[1:])
        raise EmptyHistoryError(f"There is not one pair of query and response to learn from in this file. {left_out}")
    return imported
