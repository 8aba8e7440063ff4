"""Histories: POST, GET and DELETE /v1/users/{user_id}/history."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse

from adapters_store import layout
from app import errors
from app.access import audit
from app.auth import Reader, Writer
from app.forgetting import erasing, samples
from app.forms import is_form, read_form
from app.idempotency import OnceDep
from app.importing import Import, Importer, job_options_from
from app.intake import take_in
from app.openapi import problems
from app.repositories import history, users
from app.routers.as_json import as_json
from app.routers.parameters import WARNING_HEADER, CursorParam, ErasedUserIdDep, LimitParam, SampleIdParam, UserIdDep
from app.schemas.common import Paged
from app.schemas.erasures import ErasureOut, SampleDeleted
from app.schemas.history import ConversationIn, HistoryAdded, HistoryIn, HistoryUpload, SampleOut
from app.state import ServicesDep

router = APIRouter(tags=["history"])

_JSONL = ("application/jsonl", "application/x-ndjson", "application/jsonlines", "application/x-jsonlines")
_PERSONALIZE = {"auto": "auto", "true": True, "false": False}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [
                        {"$ref": "#/components/schemas/HistoryIn"},
                        {"$ref": "#/components/schemas/ConversationIn"},
                    ]
                }
            },
            _JSONL[0]: {
                "schema": {"type": "string", "description": "a line a conversation (OpenAI chat), or a line a pair"}
            },
            "multipart/form-data": {"schema": {"$ref": "#/components/schemas/HistoryUpload"}},
        },
    }
}
BODY_SCHEMAS = (HistoryIn, ConversationIn, HistoryUpload)
"""Read by hand, so FastAPI does not know them: `app.openapi` adds them to the document."""


class Received:
    """A body as it came, its form fields read where it is a form."""

    def __init__(self, content_type: str, body: bytes, fields: dict[str, str]) -> None:
        self.content_type, self.body, self.fields = content_type, body, fields


async def received(request: Request) -> Received:
    """The body of a history, in one of three content types (a dependency)."""
    if is_form(request):
        return await _received_form(request)
    content_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if content_type != "application/json" and content_type not in _JSONL:
        raise errors.UnsupportedMediaTypeError(
            f"A history comes as application/json, {_JSONL[0]} or multipart/form-data, not as {content_type}. "
            "With curl: -H 'Content-Type: application/json'."
        )
    return Received(content_type, await request.body(), {})


async def _received_form(request: Request) -> Received:
    form = await read_form(request)
    if "file" not in form.files:
        raise errors.InvalidInputError("The form needs a file in its field `file`. With curl: -F file=@history.jsonl.")
    if unknown := sorted({*form.fields, *form.files} - set(HistoryUpload.model_fields)):
        raise errors.InvalidInputError(f"{unknown[0]}: the form has no such field.")
    return Received("multipart/form-data", form.files["file"], form.fields)


@router.post(
    "/v1/users/{user_id}/history",
    status_code=202,
    response_model=HistoryAdded,
    openapi_extra=_BODY,
    responses=problems(
        errors.InvalidUserIdError,
        errors.InvalidJsonError,
        errors.InvalidEncodingError,
        errors.EmptyHistoryError,
        errors.SampleTooLongError,
        errors.TooManySamplesError,
        errors.HistoryTooShortError,
        errors.TooManyJobsError,
        errors.UserBeingErasedError,
        errors.IdempotencyKeyReusedError,
        errors.BodyTooLargeError,
        errors.UnsupportedMediaTypeError,
    ),
)
def add_history(
    user_id: UserIdDep,
    caller: Writer,
    services: ServicesDep,
    once: OnceDep,
    body: Annotated[Received, Depends(received)],
) -> JSONResponse:
    """Store samples of a user, who is made if new, and start the job that learns them."""
    given = _parsed(Importer(services.settings), body)
    return once.run(
        services.database,
        caller.deed,
        202,
        lambda session: take_in(session, caller.identity, user_id, given, services.settings),
    )


@router.get(
    "/v1/users/{user_id}/history",
    responses=problems(errors.UserNotFoundError, errors.InvalidUserIdError, errors.InvalidCursorError),
)
@as_json
def list_history(
    user_id: UserIdDep, caller: Reader, services: ServicesDep, limit: LimitParam = 50, cursor: CursorParam = None
) -> Paged[SampleOut]:
    """The user's samples, oldest first."""
    with services.database.read() as session:
        users.get_user(session, caller.tenant, user_id)
        page = history.page_samples(session, caller.tenant, user_id, cursor, limit)
    return Paged(
        items=[
            SampleOut(
                id=row.id or 0,
                query=row.query,
                response=row.response,
                kind=row.kind,
                time=row.happened_at,
                time_given=row.time_given,
            )
            for row in page.items
        ],
        next_cursor=page.next_cursor,
    )


@router.delete(
    "/v1/users/{user_id}/history",
    responses=problems(errors.UserNotFoundError, errors.InvalidUserIdError, errors.StoreFailedError),
)
def delete_history(user_id: ErasedUserIdDep, caller: Writer, services: ServicesDep) -> ErasureOut:
    """Delete the user's samples, cancel their jobs, and erase every stack made of them. The user stays."""
    return erasing.erase_history(services, caller.deed, user_id)


@router.delete(
    "/v1/users/{user_id}/history/{sample_id}",
    response_model=SampleDeleted,
    responses=problems(
        errors.UserNotFoundError,
        errors.InvalidUserIdError,
        errors.SampleNotFoundError,
        errors.HistoryTooShortError,
        errors.EmptyHistoryError,
        errors.TooManyJobsError,
        errors.UserBeingErasedError,
    ),
)
def delete_sample(
    user_id: UserIdDep,
    sample_id: SampleIdParam,
    caller: Writer,
    services: ServicesDep,
    response: Response,
    personalize: Annotated[bool, Query(description="start a job that learns the history without it")] = False,
) -> SampleDeleted:
    """Delete one sample. Versions that have learned it are marked: they go on answering, each time with the warning
    `learned_deleted_samples`, until the user is personalised again. Jobs that are learning it are cancelled.
    """
    with audit.noted(services.database, caller.deed) as session:
        deleted = samples.delete_sample(session, caller.identity, user_id, sample_id, personalize, services.settings)
        audit.done(session, caller.deed)
    folder = layout.user_folder(caller.tenant, user_id)
    services.memory.forget(folder)
    services.runtime.forget(f"{folder}/")  # the keys and values of prompts that had the sample
    if deleted.versions_marked:
        response.headers[WARNING_HEADER] = errors.LearnedDeletedSamplesError.code
    return deleted


def _parsed(importer: Importer, body: Received) -> Import:
    if body.content_type == "application/json":
        return importer.from_json(body.body)
    fields = body.fields
    personalize: Any = _PERSONALIZE.get(fields.get("personalize", "auto"))
    if personalize is None:
        raise errors.InvalidInputError("personalize: one of auto, true, false.")
    options = job_options_from(fields["options"]) if fields.get("options") else None
    return importer.from_jsonl(body.body, profile=fields.get("profile"), personalize=personalize, options=options)
