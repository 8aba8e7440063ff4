"""Pydantic's list of what is wrong with some input, as an error of the service. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.errors import InvalidInputError, InvalidJsonError

_ERRORS_SHOWN = 10
"""Enough to see what is wrong with a body; a history of 20,000 samples may have as many errors."""


def invalid_input(details: Sequence[Mapping[str, Any]], *, place: str = "", skip: int = 0) -> InvalidInputError:
    """The error for what pydantic found. The values themselves are never repeated: they are people's text.

    Args:
        details: `errors()` of a validation error.
        place: where in a larger whole this was, as in "line 7".
        skip: leading parts of each location that name no value ("body", "query").
    """
    first = details[0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", first["msg"])
        return InvalidJsonError(f"{_located(place)}the text is not JSON: {reason}.")
    fields = [
        {"pointer": "/" + "/".join(map(str, d["loc"][skip:])), "detail": d["msg"].removeprefix("Value error, ")}
        for d in details[:_ERRORS_SHOWN]
    ]
    name = fields[0]["pointer"].strip("/").replace("/", ".")
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return InvalidInputError(f"{_located(place, name)}{fields[0]['detail']}{more}", errors=fields)


def _located(*places: str) -> str:
    return "".join(f"{place}: " for place in places if place)
