"""What every body shares: strict types, text that a database can keep, and pages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

T = TypeVar("T")


class Body(BaseModel):
    """A request's body: nothing is converted (the text "3" is no number, nor is false), nothing is ignored."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("text must not contain the NUL character (U+0000); PostgreSQL cannot keep it")
    return text


PlainText = Annotated[str, AfterValidator(without_nul)]
"""Text without NUL. Lone surrogates are refused by pydantic itself."""


def parsed_time(value: Any) -> Any:
    """ISO 8601 text as an aware UTC time; text without a zone is UTC."""
    if value is None or isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise ValueError("time must be text in ISO 8601, such as 2026-11-20T14:30:00Z")
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("time is not ISO 8601, such as 2026-11-20T14:30:00Z") from None


Time = Annotated[datetime, BeforeValidator(parsed_time)]


class Paged(BaseModel, Generic[T]):
    """Some items, and the cursor of those after them (null at the end)."""

    items: list[T]
    next_cursor: str | None
