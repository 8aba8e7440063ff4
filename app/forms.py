"""A form with a file (multipart/form-data) read once, whole: several dependencies of a route look at it."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from app.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Form:
    """The form's text fields and files, by name; and what the files are called where they come from."""

    fields: dict[str, str]
    files: dict[str, bytes]
    file_names: dict[str, str]


async def read_form(request: Request) -> Form:
    """The request's form; temporary files are gone when this returns.

    Raises:
        InvalidInputError: a field comes twice.
    """
    known: Form | None = getattr(request.state, "form", None)
    if known is not None:
        return known
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    file_names: dict[str, str] = {}
    async with request.form() as form:
        if len(form.multi_items()) != len(form):
            raise InvalidInputError("The form has a field twice. Send each once.")
        for name, value in form.items():
            if isinstance(value, str):
                fields[name] = value
            else:
                files[name] = await value.read()
                file_names[name] = value.filename or ""
    read = request.state.form = Form(fields, files, file_names)
    return read


def is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")
