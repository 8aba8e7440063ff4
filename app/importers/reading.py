"""What every importer reads with: text, lines, JSON and times out of bytes, with an error that says where.

Knows no format. Errors never repeat a file's text: it is people's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from app.errors import InvalidEncodingError, InvalidImportError, InvalidJsonError
from app.validation import invalid_input

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Source:
    """A file's content.

    Args:
        data: its bytes.
        name: its name, without folders; empty where there is none.
        label: put before a place in errors, as in "second file, ".
    """

    data: bytes
    name: str = ""
    label: str = ""

    @property
    def text(self) -> str:
        return decoded(self.data, self.label)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Every line that is not blank, with its number from 1.

        Only line feeds end a line: JSON text may hold other separators, U+2028 for one, as they are.
        """
        for number, line in enumerate(self.text.split("\n"), start=1):
            if line.strip():
                yield number, line.removesuffix("\r")

    def objects(self, model: type[M]) -> Iterator[tuple[int, M]]:
        """The object of each line of JSONL."""
        for number, line in self.lines():
            place = self.at(number)
            raw = parsed(line, place)
            if isinstance(raw, list):
                raise InvalidImportError(
                    f"{place} is a list. Put each of its objects on a line of its own (JSON Lines)."
                )
            yield number, validated(model, raw, place)

    def at(self, number: int) -> str:
        return f"{self.label}line {number}"


def decoded(data: bytes, label: str = "") -> str:
    """Bytes as text, without a byte order mark.

    Raises:
        InvalidEncodingError: they are not UTF-8; the line is named.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidEncodingError(
            f"{label}line {line}: byte 0x{data[error.start]:02x} is not UTF-8. "
            "Save the text as UTF-8 and send it again."
        ) from error


def parsed(text: str, place: str) -> Any:
    """JSON text as an object.

    Raises:
        InvalidJsonError: it is none.
    """
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidJsonError(f"{place + ': ' if place else ''}the text is not JSON: {error}.") from error


def validated(model: type[M], raw: Any, place: str) -> M:
    """An object as the model says it is, nothing converted.

    Raises:
        InvalidInputError: it is not; the place and the field are named.
    """
    try:
        return model.model_validate(raw, strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        raise invalid_input([dict(d) for d in details], place=place, skip=0) from error


def utc_time(text: str) -> datetime | None:
    """ISO 8601 text, or seconds since 1970, as a time in UTC; text without a zone is UTC. None where it is neither."""
    try:
        if text.isdecimal() and len(text) >= _UNIX_DIGITS:
            return datetime.fromtimestamp(int(text), UTC)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


_UNIX_DIGITS = 9
"""Fewer digits are no second since 1973, but maybe a year or a date without dashes."""


def needed_time(text: str, place: str) -> datetime:
    """`utc_time`, where a format promises times.

    Raises:
        InvalidImportError
    """
    moment = utc_time(text)
    if moment is None:
        raise InvalidImportError(f"{place}: the time is not ISO 8601. Write it as 2026-11-03T18:30:00Z.")
    return moment
