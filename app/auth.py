"""Who is asking: the tenant of an API key. Without keys in the settings everyone is the tenant 'default'."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.errors import UnauthorizedError
from app.state import ServicesDep

DEFAULT_TENANT = "default"
_bearer = HTTPBearer(auto_error=False, description="An API key of MILP_API_KEYS; none is needed where it is empty.")


def tenant(services: ServicesDep, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str:
    """The tenant of the request's key.

    Raises:
        UnauthorizedError: no key, or an unknown one.
    """
    keys = services.settings.api_keys
    if not keys:
        return DEFAULT_TENANT
    # Header bytes come as Latin-1; taken back to bytes they are what the client sent, UTF-8 keys included.
    given = _digest(credentials.credentials.encode("latin-1")) if credentials else b""
    found = None
    # Every key is compared, each in constant time: how long it takes tells nothing about the keys.
    for key, owner in keys.items():
        if hmac.compare_digest(_digest(key.encode()), given):
            found = owner
    if found is None:
        raise UnauthorizedError(
            "Send an API key of this service: Authorization: Bearer <key>.", headers={"WWW-Authenticate": "Bearer"}
        )
    return found


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


TenantDep = Annotated[str, Depends(tenant)]
