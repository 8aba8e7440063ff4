"""Keys made, rotated and revoked, each with its entry in the audit log. Knows no HTTP and no command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.access import audit, key_text
from app.access.audit import Deed
from app.access.key_text import Scope
from app.database import Database
from app.errors import ConflictError, InvalidInputError
from app.repositories import api_keys
from app.repositories.clock import database_now
from app.tables import ApiKey

_PAGE = 200
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A key to be made. A limit that is None is that of the settings, whatever they will be; 0 is none."""

    name: str
    scopes: Sequence[Scope]
    expires_at: datetime | None = None
    requests_per_minute: int | None = None
    tokens_per_day: int | None = None
    concurrent_jobs: int | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A key with its text, which is nowhere else: it can be shown this once."""

    key: ApiKey
    text: str


def checked_tenant(tenant: str) -> str:
    """Raises: InvalidInputError."""
    if not _TENANT.fullmatch(tenant):
        raise InvalidInputError(
            "A tenant is 1 to 64 lower case letters, digits, '_' or '-', and begins with a letter or digit."
        )
    return tenant


def all_keys(database: Database, tenant: str | None) -> list[tuple[ApiKey, str]]:
    """The keys of one tenant, or of all, newest first, each with its state in a word: for the operator."""
    with database.read() as session:
        moment = database_now(session)
        found: list[ApiKey] = []
        for name in api_keys.tenants(session) if tenant is None else [tenant]:
            cursor: str | None = None
            while True:
                page = api_keys.page_keys(session, name, cursor, _PAGE)
                found += page.items
                cursor = page.next_cursor
                if cursor is None:
                    break
    return [(key, _state(key, moment)) for key in found]


def create(database: Database, deed: Deed, wanted: Wanted) -> Shown:
    """A new key of the deed's tenant, which is made if new.

    Raises:
        InvalidInputError: it would have expired already.
    """
    secret = key_text.new_secret()
    with audit.noted(database, deed) as session:
        moment = database_now(session)
        if wanted.expires_at is not None and wanted.expires_at <= moment:
            raise InvalidInputError("expires_at: that time is over. Give a later one, or none.")
        api_keys.ensure_tenant(session, deed.tenant)
        key = ApiKey(
            tenant_id=deed.tenant,
            name=wanted.name,
            scopes=[scope for scope in key_text.SCOPES if scope in wanted.scopes],
            secret_digest=key_text.secret_digest(secret),
            requests_per_minute=wanted.requests_per_minute,
            tokens_per_day=wanted.tokens_per_day,
            concurrent_jobs=wanted.concurrent_jobs,
            created_by=deed.key_id,
            created_at=moment,
            expires_at=wanted.expires_at,
        )
        session.add(key)
        session.flush()
        audit.done(session, deed.on(key.id))
    return Shown(key, key_text.key_text(key.id, secret))


def rotate(database: Database, deed: Deed, key_id: str, grace: timedelta) -> Shown:
    """Give the key a new secret. The one before is taken for as long as `grace`; any older one no more.

    Raises:
        KeyNotFoundError: the tenant has no such key.
        ConflictError: it was revoked.
    """
    secret = key_text.new_secret()
    with audit.noted(database, deed.on(key_id)) as session:
        key = api_keys.get_key(session, deed.tenant, key_id)
        if key.revoked_at is not None:
            raise ConflictError(f"API key '{key_id}' was revoked. Make a new one instead.")
        key.previous_digest, key.previous_until = key.secret_digest, database_now(session) + grace
        key.secret_digest = key_text.secret_digest(secret)
        session.flush()
        audit.done(session, deed.on(key_id))
    return Shown(key, key_text.key_text(key.id, secret))


def revoke(database: Database, deed: Deed, key_id: str) -> ApiKey:
    """Let the key in no more, from the next request on. Revoking it again changes nothing.

    Raises:
        KeyNotFoundError: the tenant has no such key.
    """
    with audit.noted(database, deed.on(key_id)) as session:
        key = api_keys.get_key(session, deed.tenant, key_id)
        if key.revoked_at is None:
            key.revoked_at = database_now(session)
            session.flush()
        audit.done(session, deed.on(key_id))
    return key


def _state(key: ApiKey, moment: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= moment:
        return "expired"
    if key.previous_until is not None and key.previous_until > moment:
        return "in force, and the secret before"
    return "in force"
