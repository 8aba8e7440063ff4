"""`milp keys`: the first key, and all that follow, in the database of the settings, with or without a service."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest

from app.access.identity import identify
from app.access.key_text import parsed
from app.access.known_keys import TRUSTED_SECONDS
from app.database import Database
from app.embedded.own_key import own_key_file
from app.embedded.service import EmbeddedService
from app.repositories import audit
from app.settings import Settings
from tests.app.cli.service import Ran, milp, one_line
from tests.support.keys import bearer


def keys(*arguments: str, folder: Path) -> Ran:
    """`milp keys ARGUMENTS`, in a data folder of its own unless one is named."""
    return milp("keys", *arguments, folder=folder)


def made(ran: Ran) -> str:
    """The key that a command printed, alone on its line."""
    assert ran.code == 0, ran.err
    (text,) = ran.out.splitlines()
    assert parsed(text) is not None
    assert "cannot be shown again" in ran.err
    assert text not in ran.err
    return text


def database_in(folder: Path) -> tuple[Settings, Database]:
    settings = Settings(_env_file=None, data_dir=folder / ".milp")
    return settings, Database(settings.resolved_database_url)


def test_the_first_key_of_a_tenant_is_made_without_any_before_it(tmp_path: Path) -> None:
    limits = ["--requests-per-minute", "60", "--tokens-per-day", "0", "--concurrent-jobs", "2", "--days", "30"]
    scopes = ["--scope", "admin", "--scope", "read"]
    text = made(keys("create", "--name", "ops", "--tenant", "acme", *scopes, *limits, folder=tmp_path))
    settings, database = database_in(tmp_path)
    found = identify(settings, database, text.encode())
    assert (found.tenant, found.scopes) == ("acme", frozenset({"read", "admin"}))
    assert (found.limits.requests_per_minute, found.limits.tokens_per_day, found.limits.concurrent_jobs) == (60, 0, 2)
    with database.read() as session:
        (entry,) = audit.page_entries(session, "acme", None, 5).items
    assert (entry.key_id, entry.action, entry.target) == ("operator", "milp keys create", found.key_id)
    database.dispose()


def test_a_key_may_do_all_but_administer_unless_told_otherwise(tmp_path: Path) -> None:
    text = made(keys("create", "--name", "app", folder=tmp_path))
    settings, database = database_in(tmp_path)
    found = identify(settings, database, text.encode())
    assert (found.tenant, found.scopes) == ("default", frozenset({"read", "write", "answer"}))
    database.dispose()


def test_keys_are_listed_rotated_and_revoked(tmp_path: Path) -> None:
    assert "No keys yet" in keys("list", folder=tmp_path).out
    first = made(keys("create", "--name", "one", folder=tmp_path))
    other = made(keys("create", "--name", "two", "--tenant", "acme", folder=tmp_path))
    key_id = (parsed(first) or ("", ""))[0]
    listed = keys("list", folder=tmp_path).out
    assert all(word in listed for word in (key_id, "one", "two", "acme", "in force"))
    assert first[-64:] not in listed
    assert "one" not in keys("list", "--tenant", "acme", folder=tmp_path).out
    second = made(keys("rotate", key_id, "--grace-hours", "1", folder=tmp_path))
    assert second != first
    assert "and the secret before" in keys("list", folder=tmp_path).out
    settings, database = database_in(tmp_path)
    for text in (first, second, other):
        identify(settings, database, text.encode())
    database.dispose()
    assert keys("revoke", key_id, folder=tmp_path).out == f"{key_id} is revoked.\n"
    assert "revoked" in keys("list", folder=tmp_path).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create", "--name", "x", "--scope", "root"], "There is no scope root"),
        (["create", "--name", "x", "--tenant", "No Tenant"], "A tenant is 1 to 64 lower case letters"),
        (["create", "--name", ""], "A key's name is"),
        (["revoke", "key_nope"], "There is no API key 'key_nope'"),
        (["rotate", "key_nope", "--grace-hours", "0"], "There is no API key 'key_nope'"),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    assert said in one_line(keys(*arguments, folder=tmp_path))


def test_a_running_service_takes_a_new_key_at_once_and_a_revoked_one_for_a_second_at_most(
    service: EmbeddedService, tmp_path: Path
) -> None:
    at = ["--data-dir", str(service.settings.data_dir)]
    text = made(keys("create", "--name", "new", *at, folder=tmp_path))
    with httpx.Client(base_url=service.url, headers=bearer(text), trust_env=False) as http:
        assert http.get("/v1/users").status_code == 200
        assert http.get("/v1/keys").status_code == 403
        keys("revoke", (parsed(text) or ("", ""))[0], *at, folder=tmp_path)
        time.sleep(TRUSTED_SECONDS)
        assert http.get("/v1/users").status_code == 401


def test_the_service_of_this_machine_is_used_without_naming_a_key_and_another_is_not(
    service: EmbeddedService, tmp_path: Path
) -> None:
    assert own_key_file(service.settings.data_dir).read_text().strip() == service.api_key
    here = {"MILP_PORT": str(service.settings.port)}
    found = milp("users", folder=tmp_path, MILP_DATA_DIR=str(service.settings.data_dir), **here)
    assert found.code == 0, found.err
    line = one_line(milp("users", folder=tmp_path, **here))
    assert "--api-key or MILP_API_KEY" in line
    assert "MILP_DATA_DIR" in line


def test_a_stranger_on_this_machine_gets_nothing_without_the_key(service: EmbeddedService) -> None:
    answer = httpx.get(f"{service.url}/v1/users", trust_env=False)
    assert (answer.status_code, json.loads(answer.text)["code"]) == (401, "unauthorized")
