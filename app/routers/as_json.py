"""Answers that are written where they are made."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from fastapi import Response
from pydantic import BaseModel

P = ParamSpec("P")
Body = TypeVar("Body", bound=BaseModel)


def as_json(route: Callable[P, Body]) -> Callable[P, Response]:
    """Answer with the model that `route` returns, 200.

    FastAPI would hand what a plain function returns to a thread once more, to validate a model that is valid.
    """

    @wraps(route)
    def answer(*args: P.args, **named: P.kwargs) -> Response:
        return Response(route(*args, **named).model_dump_json(), media_type="application/json")

    return answer
