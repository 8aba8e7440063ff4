"""API keys over REST: made, listed, rotated, revoked by an admin; the audit log; and what a key's limits do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.access.identity import Identity, Limits
from app.database import Database
from app.errors import TooManyJobsError
from app.housekeeping import forget_old_entries
from app.intake import start_job
from app.main import create_app
from app.repositories import audit, jobs
from app.settings import Settings
from app.tables import now
from tests.support.api import pairs, wait_until_ready
from tests.support.keys import AUTH, bearer, make_key
from tests.support.records import add_user, samples
from tests.support.servers import RedisServer

NEW = {"name": "the app", "scopes": ["answer", "read"]}


def made(api: TestClient, **more: Any) -> dict[str, Any]:
    answer = api.post("/v1/keys", json=NEW | more)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_key_is_shown_once_and_then_lets_in(api: TestClient) -> None:
    answer = api.post("/v1/keys", json=NEW)
    assert answer.headers["cache-control"] == "no-store"
    key = answer.json()
    assert (key["scopes"], key["created_by"], key["last_used_at"]) == (["read", "answer"], "settings_1", None)
    assert api.get("/v1/users", headers=bearer(key["key"])).status_code == 200
    listed = api.get("/v1/keys")
    assert [item["id"] for item in listed.json()["items"]] == [key["id"]]
    assert "key" not in listed.json()["items"][0]
    assert key["key"][-64:] not in listed.text


def test_keys_come_in_pages_newest_first(api: TestClient) -> None:
    ids = [made(api)["id"] for _ in range(5)]
    first = api.get("/v1/keys", params={"limit": 3}).json()
    rest = api.get("/v1/keys", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [key["id"] for key in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None


def test_a_key_is_rotated_and_revoked(api: TestClient) -> None:
    key = made(api)
    rotated = api.post(f"/v1/keys/{key['id']}/rotate", json={"grace_seconds": 3600}).json()
    assert rotated["id"] == key["id"]
    assert rotated["previous_until"] is not None
    for text in (key["key"], rotated["key"]):
        assert api.get("/v1/users", headers=bearer(text)).status_code == 200
    assert api.post(f"/v1/keys/{key['id']}/revoke").json()["revoked_at"] is not None
    for text in (key["key"], rotated["key"]):
        assert api.get("/v1/users", headers=bearer(text)).status_code == 401
    again = api.post(f"/v1/keys/{key['id']}/rotate", json={"grace_seconds": 0})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    "wrong",
    [
        {"scopes": []},
        {"scopes": ["root"]},
        {"name": ""},
        {"name": "x" * 65},
        {"requests_per_minute": -1},
        {"expires_at": "yesterday"},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"secret": "mine"},
    ],
)
def test_a_key_that_makes_no_sense_is_refused(api: TestClient, wrong: dict[str, Any]) -> None:
    answer = api.post("/v1/keys", json=NEW | wrong)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert api.get("/v1/keys").json()["items"] == []


@pytest.mark.parametrize("grace", [None, -1, 31 * 86_400, "1"])
def test_whoever_rotates_says_how_long_the_old_secret_lasts(api: TestClient, grace: object) -> None:
    key = made(api)
    body = {} if grace is None else {"grace_seconds": grace}
    assert api.post(f"/v1/keys/{key['id']}/rotate", json=body).status_code == 422


@pytest.mark.parametrize("key_id", ["key_nope", "no key", "x" * 100])
def test_a_key_that_is_none_is_not_found(api: TestClient, key_id: str) -> None:
    for answer in (
        api.post(f"/v1/keys/{key_id}/revoke"),
        api.post(f"/v1/keys/{key_id}/rotate", json={"grace_seconds": 0}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "key_not_found")


def test_when_a_key_was_used_is_seen_a_little_later(api_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    written = threading.Event()
    monkeypatch.setattr("app.housekeeping.EVERY_SECONDS", 0.05)
    with TestClient(create_app(api_settings), headers=AUTH) as api:
        key = made(api)
        api.get("/v1/users", headers=bearer(key["key"])).raise_for_status()
        while not api.get("/v1/keys").json()["items"][0]["last_used_at"]:
            written.wait(0.05)


def test_the_audit_log_comes_in_pages_newest_first(api: TestClient) -> None:
    ids = [made(api)["id"] for _ in range(3)]
    first = api.get("/v1/audit", params={"limit": 2}).json()
    rest = api.get("/v1/audit", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    entries = first["items"] + rest["items"]
    assert [entry["target"] for entry in entries] == ids[::-1]
    assert {(entry["action"], entry["key_id"], entry["outcome"]) for entry in entries} == {
        ("POST /v1/keys", "settings_1", "done")
    }


def test_entries_of_the_audit_log_go_when_their_time_is_over(database: Database) -> None:
    make_key(database)
    forget_old_entries(database, 1)
    with database.write() as session:
        (entry,) = audit.page_entries(session, "default", None, 5).items
        entry.at = now() - timedelta(days=1, seconds=1)
    make_key(database)
    forget_old_entries(database, 1)
    with database.read() as session:
        assert len(audit.page_entries(session, "default", None, 5).items) == 1


def test_a_key_over_its_requests_a_minute_gets_429_and_no_other_does(api: TestClient, database: Database) -> None:
    few, many = bearer(make_key(database, requests_per_minute=2).text), bearer(make_key(database).text)
    answers = [api.get("/v1/users", headers=few) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["ratelimit"].split(";")[1] for answer in answers] == ["r=1", "r=0", "r=0"]
    refused = answers[-1]
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit-policy"] == '"requests";q=2;w=60'
    other = api.get("/v1/users", headers=many)
    assert other.status_code == 200
    assert "ratelimit" not in other.headers


def test_the_settings_limit_every_key_that_has_no_limit_of_its_own(api_settings: Settings) -> None:
    with TestClient(create_app(api_settings.model_copy(update={"requests_per_minute": 3})), headers=AUTH) as api:
        free = bearer(made(api, requests_per_minute=0)["key"])
        assert [api.get("/v1/users").status_code for _ in range(3)] == [200, 200, 429]
        assert [api.get("/v1/users", headers=free).status_code for _ in range(5)] == [200] * 5
        assert api.get("/metrics").status_code == 200


def test_a_key_with_as_many_jobs_as_it_may_have_stores_histories_and_starts_no_more(
    api: TestClient, database: Database
) -> None:
    mine = bearer(make_key(database, concurrent_jobs=1).text)
    first = api.post("/v1/users/ann/history", json={"samples": pairs(25)}, headers=mine).json()
    stored = api.post("/v1/users/bob/history", json={"samples": pairs(25)}, headers=mine).json()
    assert (stored["added"], stored["job"], stored["job_skipped"]["code"]) == (25, None, "too_many_jobs")
    for refused in (
        api.post("/v1/users/bob/personalizations", headers=mine),
        api.post("/v1/users/cid/history", json={"samples": pairs(25), "personalize": True}, headers=mine),
    ):
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_jobs")
        assert int(refused.headers["retry-after"]) > 0
    assert api.get("/v1/users/cid").status_code == 404
    # The job that waits already is given again, for it is no further one.
    same = api.post("/v1/users/ann/personalizations", headers=mine)
    assert (same.status_code, same.json()["id"]) == (202, first["job"]["id"])
    api.post(f"/v1/jobs/{first['job']['id']}/cancel", headers=mine).raise_for_status()
    assert api.post("/v1/users/bob/personalizations", headers=mine).status_code == 202


def test_of_jobs_that_one_key_starts_at_once_no_more_begin_than_it_may(settings: Settings, database: Database) -> None:
    by = Identity("t", "key_1", frozenset(), Limits(0, 0, 2))
    with database.write() as session:
        for number in range(6):
            add_user(session, "t", f"u{number}", samples(25))

    def start(number: int) -> bool:
        try:
            with database.write() as session:
                start_job(session, by, f"u{number}", None, settings)
        except TooManyJobsError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(start, range(6))) == 2
    with database.read() as session:
        assert jobs.unfinished_jobs_of_key(session, "t", "key_1") == 2
        assert jobs.unfinished_jobs_of_key(session, "other", "key_1") == 0


@pytest.fixture
def counted(settings: Settings, sqlite_url: str, redis_server: RedisServer) -> Iterator[TestClient]:
    """A service with the small base that counts in a Redis."""
    changed = {"database_url": sqlite_url, "broker_url": redis_server.url, "dtype": "float32", "torch_threads": 1}
    with TestClient(create_app(settings.model_copy(update=changed)), headers=AUTH) as client:
        wait_until_ready(client)
        client.post("/v1/users/u/history", json={"samples": pairs(1), "personalize": False}).raise_for_status()
        yield client


def test_a_key_that_has_had_its_tokens_gets_no_answer_and_may_look_all_the_same(counted: TestClient) -> None:
    def key() -> dict[str, str]:
        return bearer(made(counted, tokens_per_day=3)["key"])

    asked = {"query": "Hello?", "mode": "base", "max_new_tokens": 4}
    chat = {"model": "milp:u", "messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 4}
    for path, body in (("/v1/users/u/responses", asked), ("/v1/chat/completions", chat)):
        for stream in (False, True):
            mine = key()
            assert counted.post(path, json=body | {"stream": stream}, headers=mine).status_code == 200
            refused = counted.post(path, json=body, headers=mine)
            assert (refused.status_code, refused.json()["code"]) == (429, "token_quota_reached"), (path, stream)
            assert int(refused.headers["retry-after"]) > 3600
            assert refused.headers["ratelimit-policy"] == '"tokens";q=3;w=86400'
            assert counted.get("/v1/users", headers=mine).status_code == 200


def test_a_redis_that_is_away_takes_no_answer_down(counted: TestClient, redis_server: RedisServer) -> None:
    mine = bearer(made(counted, requests_per_minute=100, tokens_per_day=100)["key"])
    redis_server.stop()
    asked = {"query": "Hello?", "mode": "base", "max_new_tokens": 4}
    assert counted.post("/v1/users/u/responses", json=asked, headers=mine).status_code == 200
    figures = counted.get("/metrics").text.splitlines()
    (line,) = (line for line in figures if line.startswith("milp_limits_unshared_total "))
    assert float(line.split()[1]) > 0
