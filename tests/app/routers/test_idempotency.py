"""Idempotency-Key over HTTP: the same request is done once, another one is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from app.access.audit import Deed
from app.database import Database
from app.errors import UnavailableError
from app.idempotency import Once
from app.repositories import audit, idempotency, users
from app.schemas.versions import ActiveVersion
from tests.support.api import pairs

PATH = "/v1/users/ann/history"
KEY = {"Idempotency-Key": "import-1"}


def test_the_same_request_is_done_once_and_answered_alike(api: TestClient) -> None:
    body = {"samples": pairs(25)}
    first = api.post(PATH, json=body, headers=KEY)
    again = api.post(PATH, json=body, headers=KEY)
    assert again.status_code == first.status_code == 202
    assert again.json() == first.json()
    assert again.json()["added"] == 25
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize(
    ("path", "body"), [(PATH, {"samples": pairs(24)}), ("/v1/users/bob/history", {"samples": pairs(25)})]
)
def test_the_key_of_another_request_is_refused(api: TestClient, path: str, body: dict[str, Any]) -> None:
    api.post(PATH, json={"samples": pairs(25)}, headers=KEY)
    answer = api.post(path, json=body, headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_reused")
    assert api.get("/v1/users/bob").status_code == 404


def test_the_same_form_is_the_same_request_whatever_its_boundary(api: TestClient) -> None:
    def send(content: bytes) -> Any:
        return api.post(PATH, files={"file": ("h.jsonl", content)}, data={"profile": "p"}, headers=KEY)

    line = b'{"query": "q", "response": "r"}'
    assert send(line).json()["added"] == 1
    again = send(line)
    assert (again.json()["added"], again.headers["idempotency-replayed"]) == (1, "true")
    assert send(line + b"\n").status_code == 409


def test_a_refused_request_may_be_sent_again_under_its_key(api: TestClient) -> None:
    body = {"samples": pairs(25)}
    refused = api.post("/v1/users/ann/personalizations", headers=KEY)
    assert refused.json()["code"] == "user_not_found"
    api.post(PATH, json=body)
    assert api.post("/v1/users/ann/personalizations", headers=KEY).status_code == 202


def test_racing_requests_with_one_key_start_one_job(api: TestClient) -> None:
    api.post(PATH, json={"samples": pairs(25), "personalize": False})
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: api.post("/v1/users/ann/personalizations", headers=KEY), range(4)))
    assert [answer.status_code for answer in answers] == [202] * 4
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(api.get("/v1/jobs").json()["items"]) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "caf\xe9"])
def test_a_key_that_is_none_is_refused(api: TestClient, key: str) -> None:
    answer = api.post(PATH, json={"samples": pairs(1)}, headers={b"Idempotency-Key": key.encode("latin-1")})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


def test_an_effect_that_fails_leaves_neither_itself_nor_its_key(database: Database) -> None:
    def effect(session: Session) -> ActiveVersion:
        users.ensure_user(session, "t", "u", None)
        raise UnavailableError("the power went")

    with pytest.raises(UnavailableError):
        Once("k", "f").run(database, Deed("t", "key_1", "POST /there", "u"), 200, effect)
    with database.read() as session:
        assert idempotency.find(session, "t", "k") is None
        assert users.page_users(session, "t", None, 5).items == []
        (entry,) = audit.page_entries(session, "t", None, 5).items
        assert (entry.action, entry.target, entry.outcome) == ("POST /there", "u", "unavailable")


def test_an_answer_given_again_is_no_second_entry_of_the_audit_log(api: TestClient) -> None:
    for _ in range(2):
        api.post(PATH, json={"samples": pairs(1)}, headers=KEY).raise_for_status()
    assert len(api.get("/v1/audit").json()["items"]) == 1
