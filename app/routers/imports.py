"""Files in the formats people have: POST /v1/imports."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse

from app import errors
from app.auth import Writer
from app.forms import is_form, read_form
from app.idempotency import OnceDep
from app.importers.formats import FormatName
from app.importers.reading import Source
from app.imports import FileGiven, converted, take_in_all
from app.openapi import problems
from app.routers.parameters import checked_user_id
from app.schemas.imports import ImportDone, ImportUpload
from app.state import ServicesDep

router = APIRouter(tags=["history"])

_FORM = "application/x-www-form-urlencoded"
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {
                "schema": {"type": "string", "format": "binary", "description": "the file, in the format named"}
            },
            "multipart/form-data": {"schema": {"$ref": "#/components/schemas/ImportUpload"}},
        },
    }
}
BODY_SCHEMAS = (ImportUpload,)
"""Read by hand, so FastAPI does not know them: `app.openapi` adds them to the document."""
Files = tuple[Source, Source | None]


async def received_files(request: Request) -> Files:
    """The file that is the body, or the one or two of a form (a dependency)."""
    if not is_form(request):
        if request.headers.get("content-type", "").lower().startswith(_FORM):
            raise errors.UnsupportedMediaTypeError(
                "A file comes as application/octet-stream or in a form (multipart/form-data). With curl: "
                "-H 'Content-Type: application/octet-stream' --data-binary @FILE, or -F file=@FILE."
            )
        return Source(await request.body()), None
    form = await read_form(request)
    if unknown := sorted({*form.fields, *form.files} - set(ImportUpload.model_fields)):
        raise errors.InvalidInputError(f"{unknown[0]}: the form has no such field.")
    files = {name: Source(data, form.file_names[name]) for name, data in form.files.items()}
    if "file" not in files or form.fields:
        raise errors.InvalidInputError(
            "The form needs a file in its field `file`, and in some formats another in `second_file`. "
            "With curl: -F file=@FILE -F second_file=@FILE."
        )
    return files["file"], files.get("second_file")


@router.post(
    "/v1/imports",
    status_code=202,
    response_model=ImportDone,
    openapi_extra=_BODY,
    responses=problems(
        errors.InvalidImportError,
        errors.InvalidUserIdError,
        errors.InvalidJsonError,
        errors.InvalidEncodingError,
        errors.EmptyHistoryError,
        errors.IdempotencyKeyReusedError,
        errors.BodyTooLargeError,
        errors.UnsupportedMediaTypeError,
    ),
)
def import_file(
    caller: Writer,
    services: ServicesDep,
    once: OnceDep,
    files: Annotated[Files, Depends(received_files)],
    file_format: Annotated[FormatName, Query(alias="format", description="what the file is; the README has a table")],
    user: Annotated[str | None, Query(description="whose the pairs are that name no user")] = None,
    personalize: Annotated[
        Literal["auto", "true", "false"], Query(description="for each user, as in POST /v1/users/{user_id}/history")
    ] = "auto",
) -> JSONResponse:
    """Store the histories of a file's users, each all or nothing, and start the jobs that learn them."""
    wanted: Literal["auto"] | bool = "auto" if personalize == "auto" else personalize == "true"
    given = FileGiven(file_format, *files, user if user is None else checked_user_id(user), wanted)
    imported = converted(given, services.settings)
    with services.presence.of(caller.tenant, [one.user_id for one in imported.users]):
        return once.run(
            services.database,
            caller.deed,
            202,
            lambda session: take_in_all(session, caller.identity, caller.deed, imported, given, services.settings),
            notes_itself=True,
        )
