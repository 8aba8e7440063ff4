"""Every error as RFC 9457 problem+json: the one place where exceptions become HTTP answers.

What goes wrong on purpose is a `ServiceError`, or an error of the engine or the store that is mapped to one here.
Anything else becomes a 500 that names no inner detail; the log has it, under the same request id.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from adapters_store import errors as store_errors
from app import errors
from app.validation import invalid_input
from engine import errors as engine_errors

MEDIA_TYPE = "application/problem+json"

log = structlog.get_logger(__name__)


class FieldProblem(BaseModel):
    """One wrong value of a request."""

    pointer: str = Field(description="JSON pointer to the value in the body, or the parameter's name")
    detail: str


class Problem(BaseModel):
    """An error (RFC 9457). `code` is stable: programs look at it; people read `detail`."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="the code as a URI")
    title: str
    status: int
    code: str
    detail: str = Field(description="what is wrong and what to do about it")
    instance: str = Field(description="path of the request")
    request_id: str = Field(description="the X-Request-Id of this answer; the service's log has it too")
    errors: list[FieldProblem] | None = Field(None, description="every wrong value, at most ten")


def problem_body(error: errors.ServiceError, *, instance: str = "", request_id: str = "") -> dict[str, Any]:
    """The problem document of an error, as plain JSON."""
    return {
        "type": f"urn:milp-serve:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        "instance": instance,
        "request_id": request_id,
        **error.extra,
    }


def problem_response(request: Request, error: errors.ServiceError) -> Response:
    request_id: str = request.scope.get("milp.request_id", "")
    body = problem_body(error, instance=request.url.path, request_id=request_id)
    headers = {**error.headers, "X-Request-Id": request_id}
    # Plain ASCII with escapes: a detail may quote text that UTF-8 cannot carry (lone surrogates).
    return Response(json.dumps(body), error.status, headers, MEDIA_TYPE)


def refusal(request: Request, error: errors.ServiceError) -> Response:
    """The problem as an answer; one that is the service's own trouble is logged."""
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR and error.code != errors.NotReadyError.code:
        log.warning("request_failed", code=error.code, detail=error.detail)
    return problem_response(request, error)


def as_service_error(error: Exception) -> errors.ServiceError | None:
    """The service's error for one of the engine or the store; None for any that nobody meant to raise."""
    match error:
        case errors.ServiceError():
            return error
        case engine_errors.QueueFullError():
            retry = {"Retry-After": str(max(1, round(error.retry_after_seconds)))}
            return errors.QueueFullError(_sentence(error), headers=retry)
        case engine_errors.PromptTooLongError():
            return errors.PromptTooLongError(_sentence(error))
        case engine_errors.HistoryTooShortError():
            return errors.HistoryTooShortError(_sentence(error))
        case (
            engine_errors.StackMismatchError()
            | store_errors.AdapterNotFoundError()
            | store_errors.AdapterCorruptError()
        ):
            return errors.AdapterUnusableError(_sentence(error))
        case engine_errors.BaseModelError():
            return errors.BaseUnavailableError(_sentence(error))
        case engine_errors.EngineError():
            return errors.UnavailableError(_sentence(error))
        case store_errors.StoreError():
            return errors.StoreFailedError(_sentence(error))
    return None


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every error of `app` with problem+json."""

    def known(request: Request, error: Exception) -> Response:
        service_error = as_service_error(error)
        return unexpected(request, error) if service_error is None else refusal(request, service_error)

    def unexpected(request: Request, error: Exception) -> Response:
        request_id = request.scope.get("milp.request_id")
        log.error("unexpected_error", path=request.url.path, request_id=request_id, exc_info=error)
        return problem_response(
            request,
            errors.ServiceError("Nothing that you sent is to blame. The service's log says more under the request id."),
        )

    def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - for the type checker
        return problem_response(request, invalid_input(error.errors(), skip=1))

    def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
        return problem_response(request, _from_http(request, error))

    for root in (errors.ServiceError, engine_errors.EngineError, store_errors.StoreError):
        app.add_exception_handler(root, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)


def _from_http(request: Request, error: HTTPException) -> errors.ServiceError:
    """Starlette's and FastAPI's own errors: unknown route, wrong method, a body that cannot be read."""
    cause = error.__cause__
    if isinstance(cause, errors.ServiceError):
        return cause
    if isinstance(cause, UnicodeDecodeError):
        return errors.InvalidEncodingError("The body is not UTF-8. Encode it as UTF-8 and send it again.")
    path = request.url.path
    match error.status_code:
        case 404 if path.startswith("/v1/users/") and b"%2f" in _segment(request, 3):
            return errors.InvalidUserIdError("A user id has no slash in it; nothing is stored under such an id.")
        case 404:
            return errors.NotFoundError(f"There is nothing at {path}. /docs lists every path.")
        case 405:
            allowed = dict(error.headers or {})
            return errors.MethodNotAllowedError(
                f"{request.method} is not possible on {path}; {allowed.get('Allow', 'nothing')} is.", headers=allowed
            )
        case 400:
            return errors.InvalidInputError(f"The body cannot be read: {error.detail}")
    return errors.ServiceError(str(error.detail))


def _segment(request: Request, number: int) -> bytes:
    """A part of the path as it was sent, in lower case: what a slash within it has become is still seen."""
    return b"".join(request.scope.get("raw_path", b"").lower().split(b"/")[number : number + 1])


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]
