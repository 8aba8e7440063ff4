"""Histories over the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.job_options import JobOptions
from app.schemas.common import Body, PlainText, Time
from app.schemas.jobs import JobSummary

KIND_CHARS = 32
"""As wide as the column."""


class SampleIn(Body):
    """One (query, response) pair: what was asked, and what this user's answer to it was."""

    query: PlainText
    response: PlainText
    time: Time | None = Field(None, description="ISO 8601; without a zone it is UTC; left out: when it was received")
    kind: PlainText = Field(
        "dialogue", min_length=1, max_length=KIND_CHARS, description="what sort of text this is, in a word of yours"
    )


class BesideSamples(Body):
    """What may stand beside a history in a JSON body, however its samples are written."""

    profile: PlainText | None = Field(None, description="facts about the user; replaces what was said before")
    personalize: Literal["auto"] | bool = Field(
        "auto",
        description="auto: start a job if something was added and there is enough to learn from; "
        "true: start one, or refuse the request; false: only store",
    )
    options: JobOptions | None = Field(None, description="of the job that is started, or of the one that waits")


class HistoryIn(BesideSamples):
    """A history, or a further part of one. Samples that the user has already are not added again."""

    samples: list[SampleIn]


class ChatMessageIn(BaseModel):
    """A message of OpenAI's fine-tuning format; what is not text in it is left out."""

    role: str
    content: str | list[dict[str, object]] | None = None


class ChatLineIn(BaseModel):
    """A conversation in OpenAI's chat format. Each user turn with the assistant's next is a sample."""

    messages: list[ChatMessageIn]
    time: Time | None = None
    kind: PlainText = Field("dialogue", min_length=1, max_length=KIND_CHARS)


class ConversationIn(ChatLineIn, BesideSamples):
    """A history that is one conversation in OpenAI's chat format."""


class HistoryUpload(BaseModel):
    """A form with a file in it (multipart/form-data)."""

    file: bytes = Field(description="JSONL: OpenAI chat lines, or lines with query and response")
    profile: str | None = None
    personalize: Literal["auto", "true", "false"] = "auto"
    options: str | None = Field(None, description="job options as JSON text")


class JobSkipped(BaseModel):
    """Why no job was started."""

    code: Literal["not_asked", "nothing_new", "history_too_short", "too_many_jobs"]
    detail: str


class HistoryAdded(BaseModel):
    """What became of an import."""

    user_id: str
    added: int
    duplicates: int = Field(description="samples sent that the user had already, or that were sent twice")
    total: int
    job: JobSummary | None = Field(description="the job that will learn this history; one that waits already is used")
    job_skipped: JobSkipped | None


class SampleOut(BaseModel):
    id: int
    query: str
    response: str
    kind: str
    time: datetime = Field(description="the sample's own time, or when it was received")
    time_given: bool
