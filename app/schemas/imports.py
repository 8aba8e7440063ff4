"""Files in other formats over the wire, and what became of them."""

from __future__ import annotations

from pydantic import BaseModel, Field

from app.importers.formats import FormatName
from app.schemas.history import JobSkipped


class ImportUpload(BaseModel):
    """A form with one or two files (multipart/form-data)."""

    file: bytes = Field(description="the file, in the format named")
    second_file: bytes | None = Field(None, description="what belongs to it: lamp's outputs, irc's annotation")


class UserRefused(BaseModel):
    """Why nothing was stored of a user."""

    code: str
    detail: str


class ImportedUserOut(BaseModel):
    """What became of one user: all of their samples were stored, or none."""

    user_id: str
    name: str = Field(description="as the file has it; the id is made of it")
    added: int
    duplicates: int = Field(description="samples that the user had before")
    total: int | None = Field(description="samples that the user has now; null where nothing was stored")
    job_id: str | None = Field(description="the job that will learn this history; one that waits already is used")
    job_skipped: JobSkipped | None
    error: UserRefused | None


class DroppedOut(BaseModel):
    """What was not used of the file, for one reason."""

    reason: str
    count: int
    place: str = Field(description="what is counted in `first`: line, question or dialogue")
    first: list[int] = Field(description="the first few of them, from 1")


class ImportDone(BaseModel):
    """What became of a file."""

    format: FormatName
    users_are: str = Field(description="who counts as a user, in words")
    users: list[ImportedUserOut]
    dropped: list[DroppedOut]
