"""What an importer is given: one or two files, the user of what names none, and the limits. Knows no format."""

from __future__ import annotations

from dataclasses import dataclass

from app.importers.reading import Source
from app.importers.result import Limits


@dataclass(frozen=True, slots=True)
class Given:
    """Files to import.

    Args:
        second: the file that belongs to the first, in formats of two.
        user: whose the pairs are that name no user.
    """

    file: Source
    limits: Limits
    second: Source | None = None
    user: str | None = None

    @property
    def how_to_name_one(self) -> str:
        return "Say whose history it is: --user ID on the command line, user=ID in a request."
