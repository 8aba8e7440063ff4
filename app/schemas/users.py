"""Users over the wire."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel


class UserSummary(BaseModel):
    """A user in a list."""

    user_id: str
    active_version_id: str | None
    created_at: datetime
    updated_at: datetime


class UserOut(UserSummary):
    """A user with the size of their history."""

    profile: str
    samples: int
