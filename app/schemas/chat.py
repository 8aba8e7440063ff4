"""OpenAI's chat completions over the wire, as far as one causal model can serve them.

Fields this service has no use for are ignored, as OpenAI's clients expect; those that would change the answer's
meaning (several choices, tools, structured output, log-probabilities) are refused.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from app.schemas.common import PlainText
from app.schemas.responses import MAX_NEW_TOKENS


class TextPart(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    type: Literal["text"]
    text: PlainText


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: PlainText | list[TextPart]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    include_usage: bool = False


class ResponseFormat(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    type: Literal["text"]


class ChatIn(BaseModel):
    """A conversation whose next turn is wanted."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)

    model: PlainText = Field(description="the base's name, or milp:<user_id>")
    messages: list[ChatMessage] = Field(min_length=1, description="the last one is the user's")
    user: PlainText | None = Field(None, description="user id, where the model's name does not say it")
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, le=MAX_NEW_TOKENS)
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_NEW_TOKENS, description="wins over max_tokens")
    temperature: float | None = Field(None, ge=0, le=2, description="left out: greedy")
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: PlainText | list[PlainText] | None = Field(None, description="at most four")
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    response_format: ResponseFormat | None = None
    tools: list[object] | None = Field(None, max_length=0)

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, stop: str | list[str] | None) -> str | list[str] | None:
        stops = [stop] if isinstance(stop, str) else stop or []
        if len(stops) > 4 or not all(stops):
            raise ValueError("stop is at most four texts, none of them empty")
        return stop

    @model_validator(mode="after")
    def _user_speaks_last(self) -> ChatIn:
        if self.messages[-1].role != "user":
            raise ValueError("the last message must be the user's")
        if any(message.role in ("system", "developer") for message in self.messages[1:]):
            raise ValueError("only the first message may be a system message")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class ChatUsage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatReply(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str


class ChatChoice(BaseModel):
    index: int = 0
    message: ChatReply
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class ChatOut(BaseModel):
    """A completed conversation."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage


class ModelOut(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(BaseModel):
    """The base, and a model `milp:<user_id>` for every user whose stack is active."""

    object: Literal["list"] = "list"
    data: list[ModelOut]
