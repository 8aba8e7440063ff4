"""`csv`: a table with the columns query and response, and user_id, time, kind and profile where they are there.

Must not know the service.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from app.errors import InvalidImportError
from app.importers.given import Given
from app.importers.reading import Source, needed_time
from app.importers.result import Collector, Imported

_NEEDED = ("query", "response")
_KNOWN = (*_NEEDED, "user_id", "time", "kind", "profile")
_KIND_CHARS = 32
_NAME_CHARS = 64
"""As much of a column's name is told: a name may be as long as the file."""
# For the whole process, as the csv module has no other way, and once, to be the same for all threads. By its own limit
# of 131,072 one long cell would refuse the whole file; reading cannot go on behind a cell of several lines. This is the
# most that a C long holds everywhere: the file's size bounds a cell first, and the file is in memory already.
csv.field_size_limit(2**31 - 1)


def read(given: Given) -> Imported:
    """A pair a row. The last profile of a user that is not empty counts; times are ISO 8601."""
    found = Collector(given.limits)
    for number, row in _rows(given.file, found):
        place = given.file.at(number)
        user = row.get("user_id") or given.user
        if not user:
            raise InvalidImportError(
                f"{place} names no user. Fill the column user_id, or leave it out. {given.how_to_name_one}"
            )
        time = needed_time(row["time"], place) if row.get("time") else None
        kind = row.get("kind") or "dialogue"
        if len(kind) > _KIND_CHARS:
            raise InvalidImportError(f"{place}: the kind has {len(kind)} characters; {_KIND_CHARS} is the most.")
        found.add(user, row["query"], row["response"], number, time, kind)
        if row.get("profile"):
            found.profile(user, row["profile"], number)
    return found.result("those of the column user_id, or the one named for the file")


def _rows(file: Source, found: Collector) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row as a dict, with the number of its first line: a quoted field may go over several."""
    reader = csv.reader(io.StringIO(file.text, newline=""), strict=True)
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
        _check(columns, file)
        for name in columns:
            if name not in _KNOWN:
                found.drop(f"column {name[:_NAME_CHARS]!r}, which is none of {', '.join(_KNOWN)}", 1)
        first = reader.line_num + 1
        for fields in reader:
            if fields:
                if len(fields) != len(columns):
                    raise InvalidImportError(
                        f"{file.at(first)} has {len(fields)} fields where the first has {len(columns)}. "
                        'Put a field with a comma, a quote or a line break in "quotes".'
                    )
                yield first, dict(zip(columns, fields, strict=True))
            first = reader.line_num + 1
    except csv.Error as error:
        raise InvalidImportError(f"{file.at(reader.line_num)} is not CSV: {error}.") from error


def _check(columns: list[str], file: Source) -> None:
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        hint = " It has no comma: save the table with commas." if len(columns) == 1 else ""
        raise InvalidImportError(
            f"{file.at(1)} has no column {' and no column '.join(missing)}. The first line names the columns: "
            f"query, response, and user_id, time, kind and profile where there are such.{hint}"
        )
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise InvalidImportError(f"{file.at(1)} names a column twice. Name each once.")
