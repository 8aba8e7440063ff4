"""What an API key looks like, `milp_<id>_<secret>`, and what is kept of it. Pure text; knows no database.

The id is public: it finds the row, names the key in lists, limits and the audit log. The secret is 256 random bits, and
only its SHA-256 is kept. A slow, salted hash (argon2, bcrypt) is for passwords, which people choose and others can
guess; nobody guesses 256 random bits, neither fast nor slowly, and a slow hash would cost every request its time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Literal, get_args

Scope = Literal["read", "write", "answer", "admin"]
"""read: see histories, jobs, versions. write: change them. answer: ask. admin: keys and the audit log."""
SCOPES: tuple[Scope, ...] = get_args(Scope)

_KEY = re.compile(r"milp_([0-9a-f]{24})_([0-9a-f]{64})")
_SECRET_BYTES = 32
_NOBODYS_DIGEST = hashlib.sha256(secrets.token_bytes(_SECRET_BYTES)).hexdigest()
"""Compared where there is no key of that id: looking is then no quicker than for one that is there."""


def new_secret() -> str:
    return secrets.token_hex(_SECRET_BYTES)


def key_text(key_id: str, secret: str) -> str:
    """The key as its holder sends it. `key_id` is one of `app.tables.ApiKey`: `key_` and 24 hex digits."""
    return f"milp_{key_id.removeprefix('key_')}_{secret}"


def parsed(text: str) -> tuple[str, str] | None:
    """The id and the secret of a key, None for any other text."""
    match = _KEY.fullmatch(text)
    return (f"key_{match.group(1)}", match.group(2)) if match else None


def secret_digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def is_secret_of(secret: str, digest: str | None) -> bool:
    """Whether `digest` was made of this secret. How long it takes tells nothing of either."""
    same = hmac.compare_digest(secret_digest(secret), digest or _NOBODYS_DIGEST)
    return same and digest is not None


def without_secrets(text: str) -> str:
    """The text with every key in it cut to its id: for logs, where a key may have come in a path or an error."""
    return _KEY.sub(r"milp_\1_…", text)
