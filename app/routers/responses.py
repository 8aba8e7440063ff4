"""POST /v1/users/{user_id}/responses: an answer as this user's model gives it, whole or streamed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial

import structlog
from fastapi import APIRouter, Request, Response
from sse_starlette import ServerSentEvent

from app import errors
from app.answers.service import Decoding, Started
from app.answers.waiting import pieces, whole_text
from app.auth import Asker
from app.openapi import event_stream, problems
from app.problems import as_service_error, problem_body
from app.routers import metered
from app.routers.answer_stream import AnswerStream
from app.routers.parameters import WARNING_HEADER, UserIdDep
from app.schemas.responses import MemoryPair, ResponseIn, ResponseOut, ResponseWarning, Usage
from app.state import Services, ServicesDep
from engine.prompts import Message

router = APIRouter(tags=["answers"])

ANSWER_PROBLEMS = (
    errors.UserNotFoundError,
    errors.InvalidUserIdError,
    errors.InvalidJsonError,
    errors.PromptTooLongError,
    errors.AdapterUnusableError,
    errors.StoreFailedError,
    errors.TokenQuotaReachedError,
    errors.QueueFullError,
    errors.BaseUnavailableError,
)
log = structlog.get_logger(__name__)


@router.post(
    "/v1/users/{user_id}/responses",
    response_model=ResponseOut,
    responses=problems(*ANSWER_PROBLEMS, errors.NoActiveVersionError)
    | event_stream("the whole answer, or with `stream` events: delta, done or error; data: JSON"),
)
async def respond(
    user_id: UserIdDep, caller: Asker, services: ServicesDep, body: ResponseIn, request: Request
) -> Response:
    """Answer a query. Where the active version cannot be used, mode auto falls back to the memory prompt and says so.

    With `stream`: events `delta` (`{"text"}`), then `done` with the whole object, or `error` with a problem.
    """
    decoding = Decoding(body.max_new_tokens, body.temperature, body.top_p, body.seed, streamed=body.stream)
    conversation = [Message("user", body.query)]
    started = await metered.begin(services, caller, user_id, conversation, body.mode, decoding)
    headers = warning_headers(started)
    if body.stream:
        ended = partial(metered.end, services, caller, started)
        return AnswerStream(started, _stream(services, started), ended=ended, headers=headers)
    try:
        text = await whole_text(started.answer, lambda: gone(request))
    finally:
        await metered.end(services, caller, started)
    return Response(_finished(services, started, text), 200, headers, "application/json")


async def _stream(services: Services, started: Started) -> AsyncIterator[ServerSentEvent]:
    texts: list[str] = []
    try:
        async for piece in pieces(started.answer):
            texts.append(piece)
            yield ServerSentEvent(json.dumps({"text": piece}), event="delta")
        yield ServerSentEvent(_finished(services, started, "".join(texts)), event="done")
    except Exception as error:
        yield ServerSentEvent(json.dumps(stream_problem(error)), event="error")


def _finished(services: Services, started: Started, text: str) -> str:
    services.answers.finished(started)
    answer, warning = started.answer, started.warning
    return ResponseOut(
        response=text,
        mode=started.mode,
        version_id=started.version_id,
        memory=[MemoryPair(query=pair.query, response=pair.response) for pair in started.memory],
        usage=Usage(prompt_tokens=answer.prompt_tokens, completion_tokens=answer.completion_tokens),
        finish_reason=answer.finish_reason,
        warning=ResponseWarning(code=warning.code, detail=warning.detail) if warning else None,
    ).model_dump_json()


def warning_headers(started: Started) -> dict[str, str]:
    """Says by its code why the active version did not answer, or what is to be known of the one that did."""
    return {WARNING_HEADER: started.warning.code} if started.warning else {}


def stream_problem(error: Exception) -> dict[str, object]:
    """The problem of an answer that broke off after its status had been sent."""
    known = as_service_error(error)
    if known is None:
        log.error("answer_broke_off", exc_info=error)
        known = errors.ServiceError("The answer broke off. The service's log says more.")
    return problem_body(known)


async def gone(request: Request) -> None:
    """Returns when the client has closed its connection; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
