"""Pages of a list by cursor: the next page starts after the last item seen, whatever was added meanwhile.

Knows no table; the sort keys come from the caller.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import literal, tuple_
from sqlmodel import Session, col
from sqlmodel.sql.expression import SelectOfScalar

from app.errors import InvalidCursorError

T = TypeVar("T")
Key = str | int | datetime


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list, and the cursor of those after them (None at the end)."""

    items: list[T]
    next_cursor: str | None


def encode_cursor(keys: Sequence[Key]) -> str:
    """The sort keys of the last item seen, as URL-safe text."""
    plain = [key.isoformat() if isinstance(key, datetime) else key for key in keys]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, kinds: Sequence[type[Key]]) -> list[Key]:
    """Inverse of `encode_cursor`, for sort keys of the given kinds.

    Raises:
        InvalidCursorError: the text is no cursor, or one of another list.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        plain = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if not isinstance(plain, list):
            raise ValueError("not a list of keys")
        return [_decoded(key, kind) for key, kind in zip(plain, kinds, strict=True)]
    except (UnicodeError, binascii.Error, ValueError, RecursionError) as error:
        raise InvalidCursorError(
            "Pass `next_cursor` of the page before exactly as it came, or leave the cursor out to start anew."
        ) from error


def page(
    session: Session,
    statement: SelectOfScalar[T],
    order: Sequence[Any],
    key_of: Callable[[T], Sequence[Key]],
    kinds: Sequence[type[Key]],
    *,
    cursor: str | None,
    limit: int,
    newest_first: bool = False,
) -> Page[T]:
    """One page of `statement`, sorted by `order`: columns that together are unique, all up or all down.

    `key_of` gives an item's values of these columns, `kinds` their types.

    Raises:
        InvalidCursorError: the cursor was not made for this order.
    """
    columns: list[Any] = [col(column) for column in order]
    if cursor is not None:
        # Each value is bound with its column's type: SQLite compares times as text in that type's form.
        last = [literal(v, c.type) for v, c in zip(decode_cursor(cursor, kinds), columns, strict=True)]
        here = tuple_(*columns)
        statement = statement.where(here < tuple_(*last) if newest_first else here > tuple_(*last))
    statement = statement.order_by(*(c.desc() if newest_first else c.asc() for c in columns)).limit(limit + 1)
    items = list(session.exec(statement))
    following = encode_cursor(key_of(items[limit - 1])) if len(items) > limit else None
    return Page(items[:limit], following)


def _decoded(key: object, kind: type[Key]) -> Key:
    if kind is datetime and isinstance(key, str):
        moment = datetime.fromisoformat(key)
        if moment.tzinfo is not None:
            return moment
    elif type(key) is int and kind is int and abs(key) < 2**63:
        return key
    elif isinstance(key, str) and kind is str and "\0" not in key:
        key.encode()  # a ValueError for half a character: no database can be asked for it
        return key
    raise ValueError(f"{key!r} is no {kind.__name__}")
