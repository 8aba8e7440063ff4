"""What a text must be to be kept: databases take no NUL character and no half of a character."""

from __future__ import annotations

from app.errors import InvalidEncodingError


def check_text(what: str, text: str) -> None:
    """Raises: InvalidEncodingError, which begins with `what`."""
    if "\0" in text:
        raise InvalidEncodingError(f"{what} contains a NUL character, which cannot be kept. Remove it and send again.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidEncodingError(
            f"{what} contains half of a surrogate pair at character {error.start}, which is no text in UTF-8. "
            "Correct its encoding and send again."
        ) from error
