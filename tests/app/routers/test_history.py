"""Histories over HTTP: stored once, learned by one job, deleted for good."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.database import Database
from app.repositories import history, jobs, steps, waiting
from app.settings import Settings
from app.tables import now
from tests.support.api import pairs

PATH = "/v1/users/ann/history"
CONVERSATION = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


def code_of(answer: Any) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["type"].endswith(body["code"])
    return str(body["code"])


def test_a_history_is_stored_and_a_job_will_learn_it(api: TestClient) -> None:
    answer = api.post(PATH, json={"samples": pairs(25), "profile": "a cook", "options": {"seed": 5, "trials": 12}})
    assert answer.status_code == 202
    body = answer.json()
    assert (body["user_id"], body["added"], body["duplicates"], body["total"]) == ("ann", 25, 0, 25)
    assert body["job_skipped"] is None
    job = api.get(f"/v1/jobs/{body['job']['id']}").json()
    assert (job["status"], job["user_id"]) == ("queued", "ann")
    assert (job["options"]["seed"], job["options"]["trials"]) == (5, 12)
    assert api.get("/v1/users/ann").json()["profile"] == "a cook"


def test_a_job_that_waits_is_used_instead_of_a_second_one(api: TestClient) -> None:
    first = api.post(PATH, json={"samples": pairs(25)}).json()["job"]
    second = api.post(PATH, json={"samples": pairs(5, first=25)}).json()["job"]
    third = api.post("/v1/users/ann/personalizations").json()
    assert first["id"] == second["id"] == third["id"]
    assert len(api.get("/v1/jobs").json()["items"]) == 1


def test_a_job_that_waits_takes_the_options_named_last(api: TestClient) -> None:
    def options_of(job: dict[str, Any]) -> tuple[int, int | None]:
        options = api.get(f"/v1/jobs/{job['id']}").json()["options"]
        return options["seed"], options["trials"]

    first = api.post(PATH, json={"samples": pairs(25), "options": {"seed": 5}}).json()["job"]
    again = api.post("/v1/users/ann/personalizations", json={"seed": 6, "trials": 12}).json()
    assert again["id"] == first["id"]
    assert (again["options"]["seed"], again["options"]["trials"]) == options_of(first) == (6, 12)
    api.post(PATH, json={"samples": pairs(5, first=25)})
    api.post("/v1/users/ann/personalizations")
    assert options_of(first) == (6, 12)
    api.post(PATH, json={"samples": pairs(5, first=30), "options": {"seed": 7}})
    assert options_of(first) == (7, None)


def test_a_job_that_has_begun_is_followed_by_another(api: TestClient, database: Database) -> None:
    first = api.post(PATH, json={"samples": pairs(25)}).json()["job"]
    with database.write() as session:
        (step,) = waiting.due(session, now(), 10)
        assert step.id is not None
        assert steps.claim(session, step.id, "worker", 30.0) is not None
    second = api.post(PATH, json={"samples": pairs(5, first=25)}).json()["job"]
    assert second["id"] != first["id"]


def test_what_was_sent_before_is_not_added_again_and_needs_no_job(api: TestClient) -> None:
    api.post(PATH, json={"samples": pairs(25), "personalize": False})
    body = api.post(PATH, json={"samples": [*pairs(25), pairs(1)[0]]}).json()
    assert (body["added"], body["duplicates"], body["total"]) == (0, 26, 25)
    assert body["job"] is None
    assert body["job_skipped"]["code"] == "nothing_new"


@pytest.mark.parametrize(("personalize", "code"), [("auto", "history_too_short"), (False, "not_asked")])
def test_too_short_a_history_is_kept_and_the_answer_says_why_there_is_no_job(
    api: TestClient, personalize: object, code: str
) -> None:
    body = api.post(PATH, json={"samples": pairs(3), "personalize": personalize}).json()
    assert body["total"] == 3
    assert body["job_skipped"]["code"] == code
    assert api.get("/v1/jobs").json()["items"] == []


def test_a_demanded_job_on_too_short_a_history_refuses_everything(api: TestClient) -> None:
    answer = api.post(PATH, json={"samples": pairs(3), "personalize": True})
    assert (answer.status_code, code_of(answer)) == (422, "history_too_short")
    assert code_of(api.get("/v1/users/ann")) == "user_not_found"


def test_chat_lines_come_as_body_or_as_file(api: TestClient) -> None:
    line = json.dumps(CONVERSATION).encode()
    answer = api.post(PATH, content=line, headers={"Content-Type": "application/jsonl; charset=utf-8"})
    assert (answer.status_code, answer.json()["added"]) == (202, 1)
    answer = api.post(
        "/v1/users/bob/history",
        files={"file": ("bob.jsonl", line)},
        data={"profile": "a pilot", "personalize": "false", "options": '{"seed": 1}'},
    )
    assert (answer.status_code, answer.json()["added"]) == (202, 1)
    assert answer.json()["job_skipped"]["code"] == "not_asked"
    assert api.get("/v1/users/bob").json()["profile"] == "a pilot"


def test_a_conversation_takes_profile_job_and_options_as_samples_do(api: TestClient) -> None:
    turns = [(role, f"{role} says {i}") for i in range(25) for role in ("user", "assistant")]
    messages = [{"role": role, "content": content} for role, content in turns]
    stored = api.post(PATH, json={"messages": messages[:4], "personalize": False, "profile": "a cook"}).json()
    assert (stored["added"], stored["job_skipped"]["code"]) == (2, "not_asked")
    assert api.get("/v1/users/ann").json()["profile"] == "a cook"
    learned = api.post(PATH, json={"messages": messages, "personalize": True, "options": {"seed": 5}}).json()
    assert (learned["added"], learned["job"]["options"]["seed"]) == (23, 5)
    assert api.get("/v1/users/ann").json()["profile"] == "a cook"


def test_pages_of_a_history_are_in_time_order_and_complete(api: TestClient) -> None:
    sent = pairs(7)
    api.post(PATH, json={"samples": sent[::-1], "personalize": False})
    seen: list[str] = []
    cursor = None
    while True:
        page = api.get(PATH, params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        seen += [item["query"] for item in page["items"]]
        assert len(page["items"]) <= 3
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [pair["query"] for pair in sent]


@pytest.mark.parametrize(
    ("request_parts", "status", "code"),
    [
        ({"json": {"samples": []}}, 422, "empty_history"),
        ({"json": {"samples": [{"query": "q", "response": ""}]}}, 422, "empty_history"),
        ({"json": {"samples": [{"query": "q", "response": False}]}}, 422, "invalid_input"),
        ({"json": {"samples": [{"query": "q\0", "response": "r"}]}}, 422, "invalid_input"),
        ({"json": {"samples": [{"query": "x" * 8001, "response": "r"}]}}, 422, "sample_too_long"),
        ({"json": {**CONVERSATION, "personalise": False}}, 422, "invalid_input"),
        ({"json": {**CONVERSATION, "samples": pairs(1)}}, 422, "invalid_input"),
        ({"json": {**CONVERSATION, "personalize": True}}, 422, "history_too_short"),
        ({"json": {**CONVERSATION, "options": {"trials": "12"}}}, 422, "invalid_input"),
        ({"json": {**CONVERSATION, "profile": "x" * 4001}}, 422, "invalid_input"),
        ({"content": b"\xff\xfe", "headers": {"Content-Type": "application/json"}}, 422, "invalid_encoding"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 422, "invalid_json"),
        ({"content": b"a=b", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 415,
         "unsupported_media_type"),
        ({"files": {"upload": ("a.jsonl", b"{}")}}, 422, "invalid_input"),
        ({"files": {"file": ("a.jsonl", b"{}")}, "data": {"surprise": "1"}}, 422, "invalid_input"),
        ({"files": {"file": ("a.jsonl", b"{}")}, "data": {"personalize": "maybe"}}, 422, "invalid_input"),
        ({"content": b"--", "headers": {"Content-Type": "multipart/form-data"}}, 422, "invalid_input"),
    ],
)  # fmt: skip
def test_a_bad_history_is_refused_and_leaves_nothing(
    api: TestClient, request_parts: dict[str, Any], status: int, code: str
) -> None:
    answer = api.post(PATH, **request_parts)
    assert (answer.status_code, code_of(answer)) == (status, code)
    assert code_of(api.get("/v1/users/ann")) == "user_not_found"


def test_a_hundred_thousand_samples_are_refused_and_leave_nothing(api: TestClient) -> None:
    sample = {"query": "q", "response": "r"}
    answer = api.post(PATH, json={"samples": [sample] * 100_000})
    assert (answer.status_code, code_of(answer)) == (422, "too_many_samples")
    assert code_of(api.get("/v1/users/ann")) == "user_not_found"


def test_too_large_a_body_is_refused_announced_or_not(api: TestClient, api_settings: Settings) -> None:
    block = b"x" * 2**20
    count = api_settings.max_body_bytes // len(block) + 1
    headers = {"Content-Type": "application/json"}
    announced = api.post(PATH, content=block * count, headers=headers)
    assert (announced.status_code, code_of(announced)) == (413, "body_too_large")
    streamed = api.post(PATH, content=(block for _ in range(count)), headers=headers)
    assert (streamed.status_code, code_of(streamed)) == (413, "body_too_large")
    both = {**headers, "Content-Length": "2", "Transfer-Encoding": "chunked"}
    understated = api.post(PATH, content=(block for _ in range(count)), headers=both)
    assert (understated.status_code, code_of(understated)) == (413, "body_too_large")


@pytest.mark.parametrize("user_id", ["a.b", "a%2Fb", "%2e%2e%2fetc", "-a", "a b", "a%0A", "a%00", "x" * 129, "ä"])
def test_a_user_id_that_is_none_is_refused(api: TestClient, user_id: str) -> None:
    answer = api.post(f"/v1/users/{user_id}/history", json={"samples": pairs(1)})
    assert (answer.status_code, code_of(answer)) == (422, "invalid_user_id")


def test_a_deleted_history_takes_jobs_versions_and_stacks_with_it(api: TestClient, database: Database) -> None:
    job = api.post(PATH, json={"samples": pairs(25), "profile": "a cook"}).json()["job"]
    gone = api.delete(PATH).json()["removed"]
    assert (gone["samples"], gone["jobs_cancelled"]) == (25, 1)
    assert api.get(f"/v1/jobs/{job['id']}").json()["status"] == "cancelled"
    user = api.get("/v1/users/ann").json()
    assert (user["samples"], user["profile"]) == (0, "a cook")
    with database.read() as session:
        assert history.count_samples(session, "default", "ann") == 0
    assert code_of(api.post("/v1/users/ann/personalizations")) == "empty_history"


def test_a_deleted_user_is_unknown(api: TestClient, database: Database) -> None:
    job = api.post(PATH, json={"samples": pairs(25)}).json()["job"]
    assert api.delete("/v1/users/ann").json()["removed"]["jobs_cancelled"] == 1
    for method, path in [("GET", PATH), ("GET", "/v1/users/ann"), ("DELETE", "/v1/users/ann"), ("DELETE", PATH)]:
        answer = api.request(method, path)
        assert (answer.status_code, code_of(answer)) == (404, "user_not_found")
    assert code_of(api.get(f"/v1/jobs/{job['id']}")) == "job_not_found"
    with database.read() as session:
        assert jobs.page_jobs(session, "default", limit=5).items == []
