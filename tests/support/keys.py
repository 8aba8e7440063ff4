"""API keys for tests: one that the settings of every test name, and others made in a database."""

from __future__ import annotations

import json
from typing import Any

from app.access import managing
from app.access.audit import OPERATOR, Deed
from app.access.identity import Identity, Limits
from app.access.key_text import SCOPES, Scope
from app.access.managing import Shown, Wanted
from app.database import Database

KEY = "the-key-of-the-tests"
"""Of tenant `default`, with every scope."""
KEYS = {KEY: "default"}
KEYS_VARIABLE = {"MILP_API_KEYS": json.dumps(KEYS)}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


AUTH = bearer(KEY)


def someone(tenant: str) -> Identity:
    """A key of the tenant that may do anything, without any limit."""
    return Identity(tenant, "key_of_the_tests", frozenset(SCOPES), Limits(0, 0, 0))


def make_key(database: Database, tenant: str = "default", scopes: tuple[Scope, ...] = SCOPES, **more: Any) -> Shown:
    """A key of the tenant in the database, as `milp keys create` makes it. `more`: its expiry and limits."""
    deed = Deed(tenant, OPERATOR, "milp keys create")
    return managing.create(database, deed, Wanted("tests", scopes, **more))
