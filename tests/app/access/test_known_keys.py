"""Keys that were looked up a moment ago: trusted for a second by the process that looked, and no longer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.access import known_keys, managing
from app.access.audit import Deed
from app.access.identity import identify, identify_known
from app.access.known_keys import KnownKeys
from app.database import Database
from app.errors import UnauthorizedError
from app.repositories import api_keys
from app.repositories.clock import database_now
from app.settings import Settings
from tests.support.keys import KEYS, make_key

DEED = Deed("default", "k", "revoke", "")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The seconds that this process believes to have passed."""
    held = {"now": 100.0}
    monkeypatch.setattr(known_keys.time, "monotonic", lambda: held["now"])
    return held


def test_a_key_is_looked_up_once_a_second(
    settings: Settings, database: Database, clock: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, known, asked = make_key(database), KnownKeys(), []
    find = api_keys.find_key
    monkeypatch.setattr(api_keys, "find_key", lambda *args: asked.append(1) or find(*args))

    def request() -> Any:
        given = shown.text.encode()
        return identify_known(settings, known, given) or identify(settings, database, given, known)

    first = request()
    clock["now"] += 0.9
    assert request().key_id == first.key_id
    assert len(asked) == 1
    clock["now"] += 0.2
    request()
    assert len(asked) == 2


def test_a_known_key_still_needs_its_secret(settings: Settings, database: Database) -> None:
    shown, known = make_key(database), KnownKeys()
    identify(settings, database, shown.text.encode(), known)
    with pytest.raises(UnauthorizedError):
        identify_known(settings, known, (shown.text[:-64] + "0" * 64).encode())


def test_a_known_key_expires_on_time(settings: Settings, database: Database, clock: dict[str, float]) -> None:
    shown, known = make_key(database), KnownKeys()
    with database.read() as session:
        moment = database_now(session)
    shown.key.expires_at = moment + timedelta(seconds=0.5)
    known.keep(shown.key, moment, clock["now"])
    assert identify_known(settings, known, shown.text.encode()) is not None
    clock["now"] += 0.6
    with pytest.raises(UnauthorizedError, match="expired"):
        identify_known(settings, known, shown.text.encode())


def test_a_key_that_was_revoked_elsewhere_is_known_no_longer_after_a_second(
    settings: Settings, database: Database, clock: dict[str, float]
) -> None:
    shown, known = make_key(database), KnownKeys()
    identify(settings, database, shown.text.encode(), known)
    managing.revoke(database, DEED, shown.key.id)
    clock["now"] += 1.0
    assert identify_known(settings, known, shown.text.encode()) is None
    with pytest.raises(UnauthorizedError, match="revoked"):
        identify(settings, database, shown.text.encode(), known)


def test_the_operators_own_keys_and_what_is_no_key_need_no_look(settings: Settings) -> None:
    known = KnownKeys()
    with pytest.raises(UnauthorizedError):
        identify_known(settings, known, None)
    with pytest.raises(UnauthorizedError):
        identify_known(settings, known, b"nonsense")
    with_key = settings.model_copy(update={"api_keys": KEYS})
    found = identify_known(with_key, known, next(iter(KEYS)).encode())
    assert found is not None
    assert found.tenant == KEYS[next(iter(KEYS))]
