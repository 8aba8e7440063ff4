"""API keys and the audit log over the wire. A key's text is in one answer only, that of its making or rotation."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from app.access.key_text import Scope
from app.schemas.common import Body, PlainText, Time

MAX_GRACE_SECONDS = 30 * 86_400
_MAX_LIMIT = 2**31 - 1


class KeyIn(Body):
    """A key to be made for the caller's tenant."""

    name: PlainText = Field(min_length=1, max_length=64, description="for people: which client has it")
    scopes: list[Scope] = Field(min_length=1, max_length=4)
    expires_at: Time | None = Field(None, description="left out: never")
    requests_per_minute: int | None = Field(None, ge=0, le=_MAX_LIMIT, description="left out: the setting's; 0: none")
    tokens_per_day: int | None = Field(None, ge=0, le=_MAX_LIMIT, description="generated tokens, as above")
    concurrent_jobs: int | None = Field(None, ge=0, le=_MAX_LIMIT, description="unfinished jobs, as above")


class RotationIn(Body):
    """How a key's secret is replaced."""

    grace_seconds: int = Field(
        ge=0, le=MAX_GRACE_SECONDS, description="how long the secret before is still taken; 0 after a leak"
    )


class KeyOut(BaseModel):
    """A key, without its secret."""

    id: str
    name: str
    scopes: list[Scope]
    requests_per_minute: int | None
    tokens_per_day: int | None
    concurrent_jobs: int | None
    created_by: str = Field(description="the key that made it, or operator")
    created_at: datetime
    expires_at: datetime | None
    previous_until: datetime | None = Field(description="how long the secret before the last rotation is taken")
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="to the minute")


class KeyShown(KeyOut):
    """A key with its text, which cannot be shown again."""

    key: str = Field(description="what clients send: Authorization: Bearer <key>")


class AuditEntryOut(BaseModel):
    """A write that was done or refused."""

    id: int
    key_id: str = Field(description="whose: a key, operator (a machine with the database), or settings_<n>")
    action: str = Field(description="method and route, or command")
    target: str = Field(description="the ids it was done to, outermost first")
    outcome: str = Field(description="done, or the code of the problem it was refused with")
    request_id: str
    at: datetime = Field(description="on the database's clock")
