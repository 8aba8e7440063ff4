"""OpenAI-compatible POST /v1/chat/completions and GET /v1/models, for clients that speak that already.

The user is `user`, or part of the model's name: `milp:<user_id>`. Without one the base answers.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from sse_starlette import ServerSentEvent

from app import errors
from app.answers.service import Decoding, Started
from app.answers.waiting import pieces, whole_text
from app.auth import Asker
from app.openapi import event_stream, problems
from app.repositories import overview
from app.routers import metered
from app.routers.answer_stream import AnswerStream
from app.routers.as_json import as_json
from app.routers.parameters import checked_user_id
from app.routers.responses import ANSWER_PROBLEMS, gone, stream_problem, warning_headers
from app.schemas.chat import ChatChoice, ChatIn, ChatMessage, ChatOut, ChatReply, ChatUsage, ModelList, ModelOut
from app.settings import Settings
from app.state import Services, ServicesDep
from engine.prompts import Message

router = APIRouter(tags=["OpenAI-compatible"])

USER_PREFIX = "milp:"
_MODELS_LISTED = 1000
"""OpenAI's list has no pages. Models beyond these can be used all the same."""


@router.post(
    "/v1/chat/completions",
    response_model=ChatOut,
    responses=problems(*ANSWER_PROBLEMS, errors.ModelNotFoundError)
    | event_stream("the whole completion, or with `stream` chunks of it; data: JSON, at last [DONE]"),
)
async def complete(caller: Asker, services: ServicesDep, body: ChatIn, request: Request) -> Response:
    """The next turn of a conversation: by the user's active version, else with the memory prompt, else by the base."""
    user_id = _user_of(body, services.settings)
    decoding = Decoding(
        body.max_completion_tokens or body.max_tokens,
        body.temperature or 0.0,
        1.0 if body.top_p is None else body.top_p,
        body.seed,
        body.stops,
        streamed=bool(body.stream),
    )
    conversation = [_message(message) for message in body.messages]
    started = await metered.begin(services, caller, user_id, conversation, "auto", decoding)
    reply = _Reply(services, started, body.model)
    if body.stream:
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        ended = partial(metered.end, services, caller, started)
        return AnswerStream(started, reply.stream(with_usage), ended=ended, headers=warning_headers(started), sep="\n")
    try:
        text = await whole_text(started.answer, lambda: gone(request))
    finally:
        await metered.end(services, caller, started)
    return Response(reply.whole(text), 200, warning_headers(started), "application/json")


@router.get("/v1/models", responses=problems())
@as_json
def list_models(caller: Asker, services: ServicesDep) -> ModelList:
    """The base, and `milp:<user_id>` for every user whose version is active."""
    with services.database.read() as session:
        users = overview.users_with_active_version(session, caller.tenant, _MODELS_LISTED)
    base = ModelOut(id=public_name(services.settings), created=0, owned_by="base")
    return ModelList(
        data=[
            base,
            *(
                ModelOut(id=USER_PREFIX + user.user_id, created=int(user.created_at.timestamp()), owned_by="milp")
                for user in users
            ),
        ]
    )


def public_name(settings: Settings) -> str:
    """The base's name for clients: a folder's last part, never its path."""
    path = Path(settings.base_model)
    return path.resolve().name if path.is_dir() else settings.base_model


class _Reply:
    """One completion in OpenAI's words."""

    def __init__(self, services: Services, started: Started, model: str) -> None:
        self._services = services
        self._started = started
        self._model = model
        self._id = f"chatcmpl-{secrets.token_hex(12)}"
        self._created = int(time.time())

    def whole(self, text: str) -> str:
        self._services.answers.finished(self._started)
        return ChatOut(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=[ChatChoice(message=ChatReply(content=text), finish_reason=self._finish_reason())],
            usage=self._usage(),
        ).model_dump_json()

    async def stream(self, with_usage: bool) -> AsyncIterator[ServerSentEvent]:
        try:
            yield self._chunk({"role": "assistant", "content": ""})
            async for piece in pieces(self._started.answer):
                yield self._chunk({"content": piece})
            self._services.answers.finished(self._started)
            yield self._chunk({}, self._finish_reason())
            if with_usage:
                yield self._event(choices=[], usage=self._usage().model_dump())
            yield ServerSentEvent("[DONE]")
        except Exception as error:
            problem = stream_problem(error)
            yield ServerSentEvent(json.dumps({"error": {**problem, "message": problem["detail"]}}))

    def _chunk(self, delta: dict[str, str], finish_reason: str | None = None) -> ServerSentEvent:
        return self._event(choices=[{"index": 0, "delta": delta, "finish_reason": finish_reason}])

    def _event(self, **fields: Any) -> ServerSentEvent:
        head = {"id": self._id, "object": "chat.completion.chunk", "created": self._created, "model": self._model}
        return ServerSentEvent(json.dumps(head | fields))

    def _finish_reason(self) -> Literal["stop", "length"]:
        return "length" if self._started.answer.finish_reason == "length" else "stop"

    def _usage(self) -> ChatUsage:
        read, written = self._started.answer.prompt_tokens, self._started.answer.completion_tokens
        return ChatUsage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


def _user_of(body: ChatIn, settings: Settings) -> str | None:
    """Raises: ModelNotFoundError, InvalidUserIdError, InvalidInputError where the two names differ."""
    if body.model.startswith(USER_PREFIX):
        named = checked_user_id(body.model.removeprefix(USER_PREFIX))
        if body.user not in (None, named):
            raise errors.InvalidInputError(f"user: the model is of user '{named}'. Leave `user` out, or name the same.")
        return named
    if body.model != public_name(settings):
        raise errors.ModelNotFoundError(
            f"There is no model of that name. Use '{public_name(settings)}', or '{USER_PREFIX}<user_id>'; "
            "GET /v1/models lists them."
        )
    return None if body.user is None else checked_user_id(body.user)


def _message(message: ChatMessage) -> Message:
    return Message("system" if message.role == "developer" else message.role, message.text)
