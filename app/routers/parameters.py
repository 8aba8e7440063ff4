"""Parameters that routes share, checked before anything is looked up: ids in paths, pages of lists.

The checks are coroutines, though they wait for nothing: FastAPI takes a thread for every plain function.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Path, Query, Request

from app.access.identity import Identity
from app.errors import (
    DeliveryNotFoundError,
    ErasureNotFoundError,
    InvalidUserIdError,
    JobNotFoundError,
    KeyNotFoundError,
    VersionNotFoundError,
    WebhookNotFoundError,
)
from app.gate import IDENTITY
from app.state import ServicesDep

USER_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_@:-]{0,127}$"
WARNING_HEADER = "Milp-Warning"
"""Of an answer that is not quite what was asked for: a code."""
_ID = re.compile(r"[A-Za-z0-9_]{1,64}")


def checked_user_id(user_id: str) -> str:
    """Raises: InvalidUserIdError."""
    # fullmatch, for "$" alone would let a line feed at the end pass.
    if not re.fullmatch(USER_ID_PATTERN, user_id):
        raise InvalidUserIdError(
            "A user id is 1 to 128 letters, digits, '_', '@', ':' or '-', and begins with a letter or digit: "
            "no slashes, no dots."
        )
    return user_id


UserIdPath = Annotated[str, Path(json_schema_extra={"pattern": USER_ID_PATTERN})]


async def _erased_user_id(user_id: UserIdPath) -> str:
    return checked_user_id(user_id)


async def _user_id(user_id: UserIdPath, request: Request, services: ServicesDep) -> AsyncIterator[str]:
    """The user's id. An erasure of the user waits until the request has ended."""
    checked = checked_user_id(user_id)
    identity: Identity = request.scope[IDENTITY]  # the gate has let it in
    with services.presence.of(identity.tenant, [checked]):
        yield checked


async def _job_id(job_id: Annotated[str, Path(description="as in GET /v1/jobs")]) -> str:
    if not _ID.fullmatch(job_id):
        raise JobNotFoundError("That is no job id. GET /v1/jobs lists yours.")
    return job_id


async def _version_id(version_id: Annotated[str, Path(description="as in GET /v1/users/{user_id}/versions")]) -> str:
    if not _ID.fullmatch(version_id):
        raise VersionNotFoundError("That is no version id. GET /v1/users/{user_id}/versions lists them.")
    return version_id


async def _erasure_id(erasure_id: Annotated[str, Path(description="as in GET /v1/erasures")]) -> str:
    if not _ID.fullmatch(erasure_id):
        raise ErasureNotFoundError("That is no erasure id. GET /v1/erasures lists them.")
    return erasure_id


async def _key_id(key_id: Annotated[str, Path(description="as in GET /v1/keys")]) -> str:
    if not _ID.fullmatch(key_id):
        raise KeyNotFoundError("That is no key id. GET /v1/keys lists them.")
    return key_id


async def _webhook_id(webhook_id: Annotated[str, Path(description="as in GET /v1/webhooks")]) -> str:
    if not _ID.fullmatch(webhook_id):
        raise WebhookNotFoundError("That is no webhook id. GET /v1/webhooks lists yours.")
    return webhook_id


async def _delivery_id(delivery_id: Annotated[str, Path(description="as in the webhook's deliveries")]) -> str:
    if not _ID.fullmatch(delivery_id):
        raise DeliveryNotFoundError("That is no delivery id. GET /v1/webhooks/{webhook_id}/deliveries lists them.")
    return delivery_id


UserIdDep = Annotated[str, Depends(_user_id)]
ErasedUserIdDep = Annotated[str, Depends(_erased_user_id)]
"""Of a route that erases the user: it reads nothing of them, and is not waited for."""
JobIdDep = Annotated[str, Depends(_job_id)]
VersionIdDep = Annotated[str, Depends(_version_id)]
ErasureIdDep = Annotated[str, Depends(_erasure_id)]
KeyIdDep = Annotated[str, Depends(_key_id)]
SampleIdParam = Annotated[int, Path(ge=1, lt=2**63, description="as in GET /v1/users/{user_id}/history")]
WebhookIdDep = Annotated[str, Depends(_webhook_id)]
DeliveryIdDep = Annotated[str, Depends(_delivery_id)]
LimitParam = Annotated[int, Query(ge=1, le=200, description="items on a page")]
CursorParam = Annotated[str | None, Query(max_length=1000, description="`next_cursor` of the page before")]
