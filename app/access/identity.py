"""Whose key it is that came with a request: of the database, or of the setting MILP_API_KEYS.

A key of the setting is the operator's own: every scope, no end, the limits of the settings. Knows no HTTP.
"""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from app.access import key_text
from app.access.key_text import SCOPES, Scope
from app.access.known_keys import KnownKeys
from app.database import Database
from app.errors import UnauthorizedError
from app.repositories import api_keys
from app.settings import Settings
from app.tables import ApiKey

DEFAULT_TENANT = "default"
USE_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one key may use; 0 is no limit."""

    requests_per_minute: int
    tokens_per_day: int
    concurrent_jobs: int


@dataclass(frozen=True, slots=True)
class Identity:
    """A key that is in force.

    Args:
        note_use: when it was used, where that is to be written down; None where it was a moment ago.
    """

    tenant: str
    key_id: str
    scopes: frozenset[Scope]
    limits: Limits
    note_use: datetime | None = None


def identify(settings: Settings, database: Database, given: bytes | None, known: KnownKeys | None = None) -> Identity:
    """Whose key this is.

    Args:
        given: the bytes that came as the key, None where none came.
        known: where the key is kept for requests that come soon.

    Raises:
        UnauthorizedError: none, an unknown one, or one that expired or was revoked.
        DatabaseAwayError: nobody can be let in without looking.
    """
    found = _of_settings(settings, given)
    if found is not None:
        return found
    key_id, secret = _parsed(given)
    asked_at = time.monotonic()
    with database.read() as session:
        found_key = api_keys.find_key(session, key_id)
    identity = _identity(settings, found_key, secret)
    if known is not None and found_key is not None:
        known.keep(*found_key, asked_at)
    return identity


def identify_known(settings: Settings, known: KnownKeys, given: bytes | None) -> Identity | None:
    """Whose key this is, if that can be said without asking the database; else None.

    Raises:
        UnauthorizedError: none, one that cannot be one, or one that is known and not in force.
    """
    found = _of_settings(settings, given)
    if found is not None:
        return found
    key_id, secret = _parsed(given)
    found_key = known.find(key_id)
    return None if found_key is None else _identity(settings, found_key, secret)


def _parsed(given: bytes | None) -> tuple[str, str]:
    """Raises: UnauthorizedError."""
    parts = key_text.parsed(given.decode("latin-1")) if given else None
    if parts is None:
        raise unknown_key()
    return parts


def _identity(settings: Settings, found: tuple[ApiKey, datetime] | None, secret: str) -> Identity:
    """Raises: UnauthorizedError."""
    row, moment = _in_force(found, secret)
    used = row.last_used_at
    return Identity(
        tenant=row.tenant_id,
        key_id=row.id,
        scopes=frozenset(scope for scope in SCOPES if scope in row.scopes),
        limits=_limits(settings, row),
        note_use=moment if used is None or moment - used >= USE_NOTED_EVERY else None,
    )


def settings_key_id(number: int) -> str:
    """What a key of MILP_API_KEYS is called in the audit log, by its place there, from 1: it has no public part."""
    return f"settings_{number}"


def _of_settings(settings: Settings, given: bytes | None) -> Identity | None:
    if not given:
        return None
    digest, found = sha256(given).digest(), None
    # Every key is compared, each in constant time: how long it takes tells nothing about the keys.
    for number, (key, tenant) in enumerate(settings.api_keys.items(), start=1):
        if hmac.compare_digest(sha256(key.encode()).digest(), digest):
            found = Identity(tenant, settings_key_id(number), frozenset(SCOPES), _limits(settings, None))
    return found


def _in_force(found: tuple[ApiKey, datetime] | None, secret: str) -> tuple[ApiKey, datetime]:
    """Raises: UnauthorizedError. Why it is refused is told to whoever holds the secret alone."""
    row, moment = found or (None, None)
    current = key_text.is_secret_of(secret, row.secret_digest if row else None)
    before = key_text.is_secret_of(secret, row.previous_digest if row else None)
    if row is None or moment is None or not (current or before):
        raise unknown_key()
    if row.revoked_at is not None:
        raise _refused("was revoked")
    if row.expires_at is not None and row.expires_at <= moment:
        raise _refused("has expired")
    if not current and (row.previous_until is None or row.previous_until <= moment):
        raise _refused("was rotated and its time of grace is over")
    return row, moment


def _limits(settings: Settings, row: ApiKey | None) -> Limits:
    def one(name: str) -> int:
        own: int | None = getattr(row, name, None)
        default: int = getattr(settings, name)
        return default if own is None else own

    return Limits(one("requests_per_minute"), one("tokens_per_day"), one("concurrent_jobs"))


def unknown_key() -> UnauthorizedError:
    """The refusal of a request without a key, or with none that is known."""
    return _unauthorized(
        "Send an API key of this service: Authorization: Bearer <key>. `milp up` keeps one for its machine in the "
        "file api-key of its data folder; `milp keys create` makes others."
    )


def _refused(why: str) -> UnauthorizedError:
    return _unauthorized(f"This API key {why}. Ask an admin of your tenant for a new one, or run `milp keys create`.")


def _unauthorized(detail: str) -> UnauthorizedError:
    return UnauthorizedError(detail, headers={"WWW-Authenticate": "Bearer"})
