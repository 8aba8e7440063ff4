"""Which keys let in, for how long, and that the database's clock says so; when they were used is written beside."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.access import managing
from app.access.audit import Deed
from app.access.identity import identify
from app.access.key_text import SCOPES
from app.access.key_use import KeyUse
from app.access.managing import Shown
from app.database import Database
from app.errors import ConflictError, InvalidInputError, KeyNotFoundError, UnauthorizedError
from app.repositories import api_keys
from app.repositories.clock import database_now
from app.settings import Settings
from app.tables import ApiKey, now
from tests.support.clocks import clock_off_by
from tests.support.keys import KEY, make_key

DEED = Deed("default", "operator", "tests")
HOUR = timedelta(hours=1)


def refused(settings: Settings, database: Database, text: str) -> str:
    with pytest.raises(UnauthorizedError) as caught:
        identify(settings, database, text.encode())
    assert caught.value.headers == {"WWW-Authenticate": "Bearer"}
    assert text not in caught.value.detail
    return caught.value.detail


def change(database: Database, shown: Shown, **values: object) -> None:
    with database.write() as session:
        key = api_keys.get_key(session, shown.key.tenant_id, shown.key.id)
        for name, value in values.items():
            setattr(key, name, value)


def stored(database: Database, shown: Shown) -> ApiKey:
    with database.read() as session:
        found = api_keys.find_key(session, shown.key.id)
    assert found is not None
    return found[0]


def test_a_key_of_the_database_is_its_tenants_with_its_scopes_and_limits(
    settings: Settings, database: Database
) -> None:
    shown = make_key(database, "acme", ("answer", "read"), requests_per_minute=5, tokens_per_day=0)
    with_defaults = settings.model_copy(update={"tokens_per_day": 7, "concurrent_jobs": 2})
    found = identify(with_defaults, database, shown.text.encode())
    assert (found.tenant, found.key_id, found.scopes) == ("acme", shown.key.id, frozenset({"read", "answer"}))
    limits = found.limits
    assert (limits.requests_per_minute, limits.tokens_per_day, limits.concurrent_jobs) == (5, 0, 2)


def test_a_key_of_the_settings_may_do_anything_for_its_tenant_and_is_named_by_its_place(
    settings: Settings, database: Database
) -> None:
    two = settings.model_copy(update={"api_keys": {KEY: "default", "schlüssel": "acme"}})
    found = identify(two, database, "schlüssel".encode())
    assert (found.tenant, found.key_id, found.scopes) == ("acme", "settings_2", frozenset(SCOPES))
    refused(two, database, "schlussel")


def test_no_secret_is_in_the_database(settings: Settings, sqlite_url: str) -> None:
    database = Database(sqlite_url)
    shown = make_key(database)
    managing.rotate(database, DEED, shown.key.id, HOUR)
    database.dispose()
    for file in settings.data_dir.parent.glob("milp.sqlite3*"):
        assert shown.text[-64:].encode() not in file.read_bytes()


def test_a_rotated_key_is_taken_until_its_time_of_grace_is_over_and_the_new_one_at_once(
    settings: Settings, database: Database
) -> None:
    old = make_key(database)
    new = managing.rotate(database, DEED, old.key.id, HOUR)
    assert new.key.id == old.key.id
    assert {identify(settings, database, text.encode()).key_id for text in (old.text, new.text)} == {old.key.id}
    change(database, old, previous_until=now() - timedelta(seconds=1))
    assert "grace" in refused(settings, database, old.text)
    identify(settings, database, new.text.encode())


def test_only_the_secret_before_has_a_time_of_grace(settings: Settings, database: Database) -> None:
    first = make_key(database)
    second = managing.rotate(database, DEED, first.key.id, HOUR)
    third = managing.rotate(database, DEED, first.key.id, HOUR)
    refused(settings, database, first.text)
    for text in (second.text, third.text):
        identify(settings, database, text.encode())
    managing.rotate(database, DEED, first.key.id, timedelta(0))
    refused(settings, database, third.text)


def test_a_revoked_key_is_refused_from_the_next_request_on_grace_or_not(settings: Settings, database: Database) -> None:
    old = make_key(database)
    new = managing.rotate(database, DEED, old.key.id, HOUR)
    first = managing.revoke(database, DEED, old.key.id).revoked_at
    for text in (old.text, new.text):
        assert "revoked" in refused(settings, database, text)
    assert managing.revoke(database, DEED, old.key.id).revoked_at == first
    with pytest.raises(ConflictError, match="was revoked"):
        managing.rotate(database, DEED, old.key.id, HOUR)


def test_a_key_expires_and_none_is_made_that_has_already(settings: Settings, database: Database) -> None:
    shown = make_key(database, expires_at=now() + HOUR)
    identify(settings, database, shown.text.encode())
    change(database, shown, expires_at=now() - timedelta(seconds=1))
    assert "expired" in refused(settings, database, shown.text)
    with pytest.raises(InvalidInputError, match="expires_at"):
        make_key(database, expires_at=now() - HOUR)


def test_why_a_key_is_refused_is_told_only_to_whoever_has_its_secret(settings: Settings, database: Database) -> None:
    shown = make_key(database)
    managing.revoke(database, DEED, shown.key.id)
    assert "revoked" not in refused(settings, database, shown.text[:-64] + "0" * 64)


def test_the_clock_of_the_database_says_when_a_key_has_expired(settings: Settings, postgres_url: str) -> None:
    database = Database(postgres_url)
    shown = make_key(database, expires_at=now() + HOUR)
    with clock_off_by(hours=5):
        identify(settings, database, shown.text.encode())
    database.dispose()


def test_keys_of_another_tenant_can_be_neither_rotated_nor_revoked(database: Database) -> None:
    shown = make_key(database, "acme")
    for change_it in (
        lambda: managing.rotate(database, DEED, shown.key.id, HOUR),
        lambda: managing.revoke(database, DEED, shown.key.id),
    ):
        with pytest.raises(KeyNotFoundError):
            change_it()


def test_the_last_use_is_noted_by_a_request_and_written_later_at_most_once_a_minute(
    settings: Settings, database: Database
) -> None:
    shown, use = make_key(database), KeyUse()

    def request() -> bool:
        found = identify(settings, database, shown.text.encode())
        if found.note_use is not None:
            use.note(found.key_id, found.note_use)
        return found.note_use is not None

    assert request()
    assert stored(database, shown).last_used_at is None  # the request itself writes nothing
    use.write(database)
    first = stored(database, shown).last_used_at
    assert first is not None
    assert not request()
    with database.read() as session:
        use.note(shown.key.id, database_now(session))  # as another process, which read the row before
    use.write(database)
    assert stored(database, shown).last_used_at == first
    change(database, shown, last_used_at=first - timedelta(minutes=1))
    assert request()
    use.write(database)
    again = stored(database, shown).last_used_at
    assert again is not None
    assert again >= first
