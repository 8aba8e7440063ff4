"""The OpenAPI document, completed: every operation lists the problems it may answer with, by status and code; and the
page that shows it, which takes its scripts from this service alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from app import errors
from app.errors import ServiceError
from app.problems import MEDIA_TYPE, Problem

_ANY_ROUTE: tuple[type[ServiceError], ...] = (
    errors.UnauthorizedError,
    errors.ForbiddenError,
    errors.LimitReachedError,
    errors.InvalidInputError,
    ServiceError,
    errors.DatabaseAwayError,
)
_ONLY_OURS = "default-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"
"""What a browser may load for the page: people type keys into it."""
_REF = "#/components/schemas/Problem"


def problems(*kinds: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these problems, and with those any route may."""
    return only_problems(*kinds, *_ANY_ROUTE)


def only_problems(*kinds: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these problems alone."""
    by_status: dict[int, list[type[ServiceError]]] = {}
    for kind in dict.fromkeys(kinds):
        by_status.setdefault(kind.status, []).append(kind)
    return {status: _described(found) for status, found in sorted(by_status.items())}


def event_stream(description: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with server-sent events, beside what else its 200 may be."""
    texts = ("event", "id", "data")
    event = {"type": "object", "properties": {name: {"type": "string"} for name in texts}, "required": ["data"]}
    return {200: {"description": description, "content": {"text/event-stream": {"itemSchema": event}}}}


def install_openapi(app: FastAPI, *extra: type[BaseModel]) -> None:
    """Give `app` a document in which `Problem` and the `extra` bodies are components, and FastAPI's own error bodies
    do not appear."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                webhooks=app.webhooks.routes,
            )
            schemas = made.setdefault("components", {}).setdefault("schemas", {})
            models: tuple[type[BaseModel], ...] = (Problem, *extra)
            for model in models:
                schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas.update(schema.pop("$defs", {}))
                schemas[model.__name__] = schema
            schemas.pop("HTTPValidationError", None)
            schemas.pop("ValidationError", None)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way


def install_page(app: FastAPI) -> None:
    """Serve Swagger UI at /docs with files of this service: FastAPI's page has browsers fetch them elsewhere."""
    app.mount("/docs/files", StaticFiles(packages=[("fastapi_swagger", "resources")]))

    @app.get("/docs", include_in_schema=False)
    async def page(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "").rstrip("/")
        shown = get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=app.title,
            swagger_js_url=f"{root}/docs/files/swagger-ui-bundle.js",
            swagger_css_url=f"{root}/docs/files/swagger-ui.css",
            swagger_favicon_url=f"{root}/docs/files/favicon-32x32.png",
        )
        shown.headers["Content-Security-Policy"] = _ONLY_OURS
        return shown


def _described(kinds: Iterable[type[ServiceError]]) -> dict[str, Any]:
    codes = "; ".join(f"`{kind.code}`: {kind.title}" for kind in kinds)
    return {"description": codes, "content": {MEDIA_TYPE: {"schema": {"$ref": _REF}}}}
