"""Names of users as files give them, as ids that the service takes. Knows neither files nor the service."""

from __future__ import annotations

import hashlib
import re


def valid_user_id(name: str) -> str:
    """`name` if the service takes it as a user id, else a like one: told apart by a digest of the original."""
    cleaned = re.sub(r"[^A-Za-z0-9_@:-]+", "-", name).lstrip("_@:-")[:100]
    if cleaned == name:
        return name
    return f"{cleaned or 'user'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
