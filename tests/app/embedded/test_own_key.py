"""The key that `milp up` makes for itself: in a file of this account's alone, found by commands, sent nowhere else."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest

from app.access import managing
from app.access.audit import OPERATOR, Deed
from app.access.identity import identify
from app.access.key_text import SCOPES, parsed
from app.cli.serving import own_key
from app.database import Database
from app.embedded.errors import EmbeddedError
from app.embedded.own_key import keep_own_key, own_key_file, read_own_key
from app.embedded.service import local_url
from app.repositories import audit
from app.settings import Settings

DEED = Deed("default", OPERATOR, "tests")


@pytest.fixture
def settings(settings: Settings, sqlite_url: str) -> Settings:
    """A data folder with a database, and no keys in the settings."""
    settings.data_dir.mkdir()
    return settings.model_copy(update={"api_keys": {}, "database_url": sqlite_url})


def mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_the_key_is_made_once_kept_with_mode_0600_and_noted(settings: Settings) -> None:
    key = keep_own_key(settings)
    file = own_key_file(settings.data_dir)
    assert file.read_text() == f"{key}\n"
    assert mode_of(file) == 0o600
    assert sorted(path.name for path in settings.data_dir.iterdir()) == ["api-key"]
    assert keep_own_key(settings) == key == read_own_key(settings.data_dir)
    database = Database(settings.resolved_database_url)
    found = identify(settings, database, key.encode())
    assert (found.tenant, found.scopes) == ("default", frozenset(SCOPES))
    with database.read() as session:
        (entry,) = audit.page_entries(session, "default", None, 5).items
    assert (entry.action, entry.key_id, entry.target) == ("milp up", OPERATOR, found.key_id)
    database.dispose()


def test_a_key_that_lets_in_no_more_is_replaced(settings: Settings) -> None:
    key = keep_own_key(settings)
    database = Database(settings.resolved_database_url)
    key_id = (parsed(key) or ("", ""))[0]
    managing.revoke(database, DEED, key_id)
    second = keep_own_key(settings)
    managing.rotate(database, DEED, (parsed(second) or ("", ""))[0], timedelta(0))
    third = keep_own_key(settings)
    assert len({key, second, third}) == 3
    identify(settings, database, third.encode())
    own_key_file(settings.data_dir).write_text("damaged")
    identify(settings, database, keep_own_key(settings).encode())
    database.dispose()


def test_a_file_that_others_may_read_is_closed_again(settings: Settings) -> None:
    keep_own_key(settings)
    file = own_key_file(settings.data_dir)
    file.chmod(0o644)
    keep_own_key(settings)
    assert mode_of(file) == 0o600


def test_a_folder_that_cannot_hold_it_is_named(settings: Settings) -> None:
    own_key_file(settings.data_dir).mkdir()
    with pytest.raises(EmbeddedError, match="MILP_DATA_DIR"):
        keep_own_key(settings)


def test_commands_find_it_and_send_it_to_their_own_machines_service_alone(settings: Settings) -> None:
    assert own_key(settings, None) is None
    key = keep_own_key(settings)
    here = local_url(settings)
    assert own_key(settings, None) == own_key(settings, here) == own_key(settings, f"{here}/") == key
    for other in ("http://elsewhere.example", "http://127.0.0.1:1", f"{here}.example"):
        assert own_key(settings, other) is None
    with_keys = settings.model_copy(update={"api_keys": {"from-the-settings": "acme"}})
    assert own_key(with_keys, None) == "from-the-settings"


def test_a_service_listens_to_this_machine_alone_unless_told_otherwise() -> None:
    assert Settings(_env_file=None).host == "127.0.0.1"
