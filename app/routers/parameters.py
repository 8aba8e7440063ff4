"""Parameters that routes share, checked before anything is looked up: ids in paths, pages of lists.

The checks are coroutines, though they wait for nothing: FastAPI takes a thread for every plain function.
"""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Path, Query

from app.errors import InvalidUserIdError, JobNotFoundError, KeyNotFoundError, VersionNotFoundError

USER_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_@:-]{0,127}$"
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


async def _user_id(user_id: Annotated[str, Path(json_schema_extra={"pattern": USER_ID_PATTERN})]) -> str:
    return checked_user_id(user_id)


async def _job_id(job_id: Annotated[str, Path(description="as in GET /v1/jobs")]) -> str:
    if not _ID.fullmatch(job_id):
        raise JobNotFoundError("That is no job id. GET /v1/jobs lists yours.")
    return job_id


async def _version_id(version_id: Annotated[str, Path(description="as in GET /v1/users/{user_id}/versions")]) -> str:
    if not _ID.fullmatch(version_id):
        raise VersionNotFoundError("That is no version id. GET /v1/users/{user_id}/versions lists them.")
    return version_id


async def _key_id(key_id: Annotated[str, Path(description="as in GET /v1/keys")]) -> str:
    if not _ID.fullmatch(key_id):
        raise KeyNotFoundError("That is no key id. GET /v1/keys lists them.")
    return key_id


UserIdDep = Annotated[str, Depends(_user_id)]
JobIdDep = Annotated[str, Depends(_job_id)]
VersionIdDep = Annotated[str, Depends(_version_id)]
KeyIdDep = Annotated[str, Depends(_key_id)]
LimitParam = Annotated[int, Query(ge=1, le=200, description="items on a page")]
CursorParam = Annotated[str | None, Query(max_length=1000, description="`next_cursor` of the page before")]
