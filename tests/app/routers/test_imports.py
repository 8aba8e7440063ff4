"""Files in other formats over HTTP: each user's history stored whole or not at all, and what was left out is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.importers.formats import NAMES
from app.imports import MOST_USERS
from app.main import create_app
from app.settings import Settings
from tests.app.importers.files import EXAMPLES, fixture, imported
from tests.support.keys import AUTH

PATH = "/v1/imports"
RAW = {"Content-Type": "application/octet-stream"}


def table(*users: str, rows: int = 25) -> bytes:
    lines = [f"{user},{user} asks {i}?,Answer {i}." for user in users for i in range(rows)]
    return "\n".join(["user_id,query,response", *lines]).encode()


def send(api: TestClient, content: bytes, **parameters: str) -> Any:
    return api.post(PATH, params={"format": "csv", **parameters}, content=content, headers=RAW)


def code_of(answer: Any) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["code"])


@pytest.fixture
def small(api_settings: Settings) -> Iterator[TestClient]:
    """A service that keeps at most 30 samples of a user."""
    settings = api_settings.model_copy(update={"max_history_samples": 30, "max_sample_chars": 50})
    with TestClient(create_app(settings), raise_server_exceptions=False, headers=AUTH) as client:
        yield client


def test_every_users_history_is_stored_and_learned_by_a_job_of_its_own(api: TestClient) -> None:
    answer = send(api, table("ann", "bob") + b"\neve,q,r\neve,,r")
    assert answer.status_code == 202
    body = answer.json()
    assert (body["format"], body["users_are"][:8]) == ("csv", "those of")
    ann, bob, eve = body["users"]
    assert [(user["user_id"], user["added"], user["total"]) for user in (ann, bob, eve)] == [
        ("ann", 25, 25),
        ("bob", 25, 25),
        ("eve", 1, 1),
    ]
    assert {job["id"] for job in api.get("/v1/jobs").json()["items"]} == {ann["job_id"], bob["job_id"]}
    assert (eve["job_id"], eve["job_skipped"]["code"], eve["error"]) == (None, "history_too_short", None)
    assert body["dropped"] == [{"reason": "pair with an empty side", "count": 1, "place": "line", "first": [53]}]
    assert len(api.get("/v1/users/ann/history", params={"limit": 100}).json()["items"]) == 25


def test_two_files_come_in_a_form_and_the_names_of_files_say_the_day(api: TestClient) -> None:
    log, links = fixture("2008-06-03.small.ascii.txt"), fixture("2008-06-03.small.annotation.txt")
    files = {"file": (log.name, log.data), "second_file": (links.name, links.data)}
    body = api.post(PATH, params={"format": "irc"}, files=files).json()
    assert [(user["user_id"][:4], user["added"]) for user in body["users"]] == [("irc-", 2), ("irc-", 2), ("irc-", 1)]
    path = f"/v1/users/{body['users'][0]['user_id']}/history"
    assert [item["time"][:16] for item in api.get(path).json()["items"]] == ["2008-06-03T11:59", "2008-06-03T12:01"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_every_format_is_stored_as_it_is_converted(api: TestClient, name: str) -> None:
    first, second = (None if file is None else fixture(file) for file in EXAMPLES[name])
    assert first is not None
    files = {"file": (first.name, first.data)} | ({"second_file": (second.name, second.data)} if second else {})
    body = api.post(PATH, params={"format": name}, files=files).json()
    expected = imported(name, first, second)
    assert {user["name"]: user["added"] for user in body["users"]} == {
        user.name: len(user.samples) for user in expected.users
    }
    assert [(entry["reason"], entry["count"]) for entry in body["dropped"]] == [
        (entry.reason, entry.count) for entry in expected.dropped
    ]
    path = f"/v1/users/{body['users'][0]['user_id']}/history"
    stored = [(item["query"], item["response"]) for item in api.get(path).json()["items"]]
    assert stored == [(sample.query, sample.response) for sample in expected.users[0].samples]


def test_names_that_are_no_ids_become_some_and_a_profile_is_kept(api: TestClient) -> None:
    (mira, tom) = api.post(PATH, params={"format": "milp"}, content=fixture("milp.jsonl").data).json()["users"]
    assert (tom["name"], tom["user_id"]) == ("tom/w", "tom-w-017be0e8")
    assert api.get(f"/v1/users/{mira['user_id']}").json()["profile"] == "Bakes on Sundays."


def test_a_file_that_names_no_user_is_the_one_named_in_the_request(api: TestClient) -> None:
    line = json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}).encode()
    answer = send(api, line, format="openai-chat", user="ann")
    assert [(user["user_id"], user["added"]) for user in answer.json()["users"]] == [("ann", 1)]
    assert code_of(send(api, line, format="openai-chat", user="a/b")) == "invalid_user_id"


def test_a_user_with_too_much_is_refused_alone_and_keeps_what_was_there(small: TestClient) -> None:
    send(small, table("bob", rows=10))
    ann, bob, eve = send(small, table("ann", "bob", "eve") + b"\nbob," + b"q" * 51 + b",r").json()["users"]
    assert (ann["added"], eve["added"]) == (25, 25)
    assert bob["error"] is None
    bob = send(small, table("bob", rows=31)).json()["users"][0]
    assert (bob["added"], bob["total"], bob["job_id"], bob["error"]["code"]) == (0, None, None, "too_many_samples")
    assert small.get("/v1/users/bob").json()["samples"] == 25


def test_a_demanded_job_refuses_only_those_who_have_too_little(api: TestClient) -> None:
    ann, bob = send(api, table("ann") + b"\nbob,q,r", personalize="true").json()["users"]
    assert ann["job_id"] is not None
    assert bob["error"]["code"] == "history_too_short"
    assert code_of(api.get("/v1/users/bob")) == "user_not_found"
    assert len(api.get("/v1/jobs").json()["items"]) == 1


def test_told_only_to_store_it_starts_no_job(api: TestClient) -> None:
    (ann,) = send(api, table("ann"), personalize="false").json()["users"]
    assert ann["job_skipped"]["code"] == "not_asked"
    assert api.get("/v1/jobs").json()["items"] == []


def test_the_same_file_again_adds_nothing_and_under_the_same_key_is_answered_alike(api: TestClient) -> None:
    def keyed(**parameters: str) -> Any:
        headers = {**RAW, "Idempotency-Key": "file-1"}
        return api.post(PATH, params={"format": "csv", **parameters}, content=table("ann"), headers=headers)

    first, again = keyed(), keyed()
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert code_of(keyed(personalize="false")) == "idempotency_key_reused"
    (ann,) = send(api, table("ann")).json()["users"]
    assert (ann["added"], ann["duplicates"], ann["job_skipped"]["code"]) == (0, 25, "nothing_new")


def test_the_same_file_under_another_name_is_another_request(api: TestClient) -> None:
    def named(name: str) -> Any:
        return api.post(PATH, params={"format": "csv"}, files={"file": (name, table("ann"))}, headers=key)

    key = {"Idempotency-Key": "file-1"}
    assert named("2008-06-03.csv").status_code == 202
    assert code_of(named("2008-06-04.csv")) == "idempotency_key_reused"


def test_a_tenant_sees_its_own_imports_only(api_settings: Settings) -> None:
    settings = api_settings.model_copy(update={"api_keys": {"one": "first", "two": "second"}})
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        as_first, as_second = ({"Authorization": f"Bearer {key}"} for key in ("one", "two"))
        assert code_of(client.post(PATH, params={"format": "csv"}, content=table("ann"))) == "unauthorized"
        client.post(PATH, params={"format": "csv"}, content=table("ann"), headers=as_first)
        assert client.get("/v1/users/ann", headers=as_first).json()["samples"] == 25
        assert code_of(client.get("/v1/users/ann", headers=as_second)) == "user_not_found"


def test_a_file_of_too_many_users_is_refused_whole(api: TestClient) -> None:
    answer = send(api, table(*(f"u{i}" for i in range(MOST_USERS + 1)), rows=1))
    assert (answer.status_code, code_of(answer)) == (422, "invalid_import")
    assert api.get("/v1/users").json()["items"] == []


@pytest.mark.parametrize(
    ("parts", "status", "code", "said"),
    [
        ({"params": {}, "content": b"x"}, 422, "invalid_input", "format"),
        ({"params": {"format": "xml"}, "content": b"x"}, 422, "invalid_input", "openai-chat"),
        ({"params": {"format": "csv", "personalize": "maybe"}, "content": b"x"}, 422, "invalid_input", "personalize"),
        ({"params": {"format": "csv"}, "content": b""}, 422, "invalid_import", "line 1 has no column query"),
        ({"params": {"format": "csv"}, "content": b"query,response\na,b"}, 422, "invalid_import", "user=ID"),
        ({"params": {"format": "csv"}, "content": b"\xff"}, 422, "invalid_encoding", "line 1"),
        ({"params": {"format": "milp"}, "content": b"{"}, 422, "invalid_json", "line 1"),
        ({"params": {"format": "milp"}, "content": b"{}"}, 422, "invalid_input", "line 1"),
        ({"params": {"format": "csv", "user": "u"}, "content": b"query,response\n,b"}, 422, "empty_history",
         "1 x pair with an empty side"),
        ({"params": {"format": "irc"}, "content": b"x"}, 422, "invalid_import", "second file"),
        ({"params": {"format": "csv"}, "data": {"a": "b"}}, 415, "unsupported_media_type", "octet-stream"),
        ({"params": {"format": "csv"}, "files": {"upload": ("a", b"x")}}, 422, "invalid_input", "no such field"),
        ({"params": {"format": "csv"}, "files": {"second_file": ("a", b"x")}}, 422, "invalid_input", "`file`"),
        ({"params": {"format": "csv"}, "files": {"file": ("a", b"x"), "second_file": ("b", b"y")}}, 422,
         "invalid_import", "no second file"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_with_what_to_do_and_leaves_nothing(
    api: TestClient, parts: dict[str, Any], status: int, code: str, said: str
) -> None:
    answer = api.post(PATH, **parts)
    assert (answer.status_code, code_of(answer)) == (status, code)
    assert said in answer.json()["detail"]
    assert api.get("/v1/users").json()["items"] == []


def test_too_large_a_file_is_refused(api: TestClient, api_settings: Settings) -> None:
    assert code_of(send(api, b"x" * (api_settings.max_body_bytes + 1))) == "body_too_large"


def test_the_document_lists_the_formats_and_both_ways_to_send_a_file(api: TestClient) -> None:
    document = api.get("/openapi.json").json()
    operation = document["paths"][PATH]["post"]
    (choice,) = [parameter for parameter in operation["parameters"] if parameter["name"] == "format"]
    assert choice["schema"]["enum"] == list(NAMES)
    assert choice["required"]
    assert set(operation["requestBody"]["content"]) == {"application/octet-stream", "multipart/form-data"}
    assert {"202", "401", "403", "409", "413", "415", "422", "429", "500", "503"} == set(operation["responses"])
    assert document["components"]["schemas"]["ImportUpload"]["required"] == ["file"]


def test_the_audit_log_names_every_user_that_was_written_and_those_that_were_refused(small: TestClient) -> None:
    assert send(small, table("ann", rows=20) + b"\n" + table("bob", rows=40).split(b"\n", 1)[1]).status_code == 202
    entries = small.get("/v1/audit").json()["items"]
    assert {entry["action"] for entry in entries} == {"POST /v1/imports"}
    assert sorted((entry["target"], entry["outcome"]) for entry in entries) == [
        ("ann", "done"),
        ("bob", "too_many_samples"),
    ]
