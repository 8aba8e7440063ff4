"""Answers to one query over the wire."""

from __future__ import annotations

from pydantic import BaseModel, Field

from app.answers.choice import Mode, UsedMode
from app.schemas.common import Body, PlainText

MAX_NEW_TOKENS = 32_768
"""Longer than any answer a context leaves room for; the engine knows the exact limit of its base."""


class ResponseIn(Body):
    """A query to be answered as this user's model would."""

    query: PlainText = Field(min_length=1)
    mode: Mode = Field("auto", description="auto: the active version, else the memory prompt, else the base")
    stream: bool = Field(False, description="server-sent events: delta with a piece of text, then done")
    max_new_tokens: int | None = Field(None, ge=1, le=MAX_NEW_TOKENS)
    temperature: float = Field(0.0, ge=0, le=2, description="0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int | None = Field(None, ge=0, lt=2**63, description="replays a sampled answer")


class MemoryPair(BaseModel):
    query: str
    response: str


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int


class ResponseWarning(BaseModel):
    """Why the active version did not answer, or what is to be known of the one that did."""

    code: str
    detail: str


class ResponseOut(BaseModel):
    """An answer, and what it was made with."""

    response: str
    mode: UsedMode = Field(description="what answered")
    version_id: str | None
    memory: list[MemoryPair] = Field(description="past pairs shown in the prompt, the nearest last")
    usage: Usage
    finish_reason: str | None = Field(description="stop, length or cancelled")
    warning: ResponseWarning | None
