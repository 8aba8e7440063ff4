"""What must never be logged is not: histories, queries, answers, profiles, keys. And no user id is part of a path."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError
from starlette.testclient import TestClient

from adapters_store import layout
from app.database import Database
from app.embedded.service import EmbeddedService
from app.main import create_app
from app.settings import Settings
from app.tables import SampleRow, now
from tests.support.api import Service, pairs, publish
from tests.support.keys import AUTH, KEY, bearer, make_key

MARK = "xyzzymark"
"""In every text that is sent below, and nowhere else."""
NASTY_IDS = ["u:::x@example", "a" * 128, "AUX", "user-with-a-name_42", "0"]


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    """All parts of a service with the base model that it comes with, logging all they can."""
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path_factory.mktemp("loud"),
        port=0,
        log_level="debug",
        epochs=1,
        averaged=1,
        max_new_tokens=4,
        webhooks_private=True,
    )
    with EmbeddedService(settings) as service:
        yield service


def logs_of(service: EmbeddedService) -> str:
    """Everything that any part has written."""
    return "".join(file.read_text(errors="replace") for file in (service.settings.data_dir / "logs").iterdir())


def marked(count: int) -> list[dict[str, Any]]:
    return [
        {"query": f"{MARK} asks {i}", "response": f"{MARK} says {i}", "time": f"2026-01-{i + 1:02}"}
        for i in range(count)
    ]


def test_neither_texts_nor_keys_are_logged_by_any_part(loud: EmbeddedService) -> None:
    secrets = [loud.api_key]
    with httpx.Client(base_url=loud.url, timeout=240, headers=bearer(loud.api_key), trust_env=False) as http:
        # Nothing listens there: it is tried, fails, and is logged.
        hook = http.post("/v1/webhooks", json={"url": f"http://127.0.0.1:9/{MARK}"}).json()
        body = {"samples": marked(24), "profile": f"{MARK} is kind.", "options": {"trials": 2}}
        job = http.post("/v1/users/ann/history", json=body).json()["job"]["id"]
        with http.stream("GET", f"/v1/jobs/{job}/events") as events:
            assert '"succeeded"' in list(events.iter_lines())[-2]
        # The sender looks once a second, and what it has not told when the user is erased, it never tells.
        while http.get(f"/v1/webhooks/{hook['id']}/deliveries").json()["items"][0]["last_error"] is None:
            time.sleep(0.1)
        for mode in ("auto", "memory", "base"):
            asked = {"query": f"What does {MARK} say?", "mode": mode}
            assert http.post("/v1/users/ann/responses", json=asked).status_code == 200
            http.post("/v1/users/ann/responses", json=asked | {"stream": True}).raise_for_status()
        chat = {"model": "milp:ann", "messages": [{"role": "user", "content": f"{MARK}?"}]}
        http.post("/v1/chat/completions", json=chat).raise_for_status()
        # What is refused is not repeated either.
        http.post("/v1/users/ann/history", content=f'{{"samples": "{MARK}'.encode())
        http.post("/v1/users/ann/history", json={"samples": [{"query": MARK, "response": 3, MARK: 1}]})
        http.post("/v1/users/ann/responses", json={"query": MARK, "mode": MARK})
        http.post("/v1/users/ann/responses", json={"query": f"{MARK} " * 5000})
        http.get("/v1/users", params={"cursor": MARK})
        made = http.post("/v1/keys", json={"name": MARK, "scopes": ["read"]}).json()
        rotated = http.post(f"/v1/keys/{made['id']}/rotate", json={"grace_seconds": 60}).json()
        secrets += [made["key"], rotated["key"]]
        for key in secrets:
            # Where a key does not belong, and whoever has lost it.
            http.get(f"/v1/users/{key}")
            http.get(f"/{key}")
            http.get("/v1/users", headers=bearer(key[:-1] + "x"))
            http.get("/v1/users", headers=bearer(key) | {"X-Request-Id": key})
        http.delete("/v1/users/ann").raise_for_status()
    logged = logs_of(loud)
    assert '"path": "/v1/users/ann/history"' in logged
    assert job in logged
    assert "webhook_sent" in logged
    assert MARK not in logged
    assert hook["secret"] not in logged
    for key in secrets:
        assert key[-63:-1] not in logged


def files_with(folder: Path, text: bytes) -> list[str]:
    """Every file in which the text stands, databases and their logs, the broker's and the store's included."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


def test_of_an_erased_user_no_text_is_left_in_any_file_of_any_part(loud: EmbeddedService) -> None:
    """Erased while a job learns them, after another has published a version that answered."""
    mark, folder = "plughmark", loud.settings.data_dir
    samples = [{**sample, "query": f"{mark} asks {i}"} for i, sample in enumerate(pairs(24))]
    with httpx.Client(base_url=loud.url, timeout=240, headers=bearer(loud.api_key), trust_env=False) as http:
        body = {"samples": samples, "profile": f"{mark} is kind.", "options": {"trials": 2}}
        job = http.post("/v1/users/bob/history", json=body, headers={"Idempotency-Key": "b"}).json()["job"]["id"]
        with http.stream("GET", f"/v1/jobs/{job}/events") as events:
            assert '"succeeded"' in list(events.iter_lines())[-2]
        for mode in ("auto", "memory"):
            asked = {"query": f"What does {mark} say?", "mode": mode}
            http.post("/v1/users/bob/responses", json=asked).raise_for_status()
        assert files_with(folder, mark.encode()) != []
        endless = {"trials": 40, "epochs": 50}
        job = http.post("/v1/users/bob/personalizations", json=endless).json()["id"]
        while http.get(f"/v1/jobs/{job}").json()["status"] != "evaluating":
            pass
        erased = http.delete("/v1/users/bob").json()
        assert any(holder["name"].startswith("step_") for holder in erased["holders"])
        while (done := http.get(f"/v1/erasures/{erased['id']}").json())["state"] != "complete":
            pass
        assert {holder["state"] for holder in done["holders"]} == {"forgot"}
        assert files_with(folder, mark.encode()) == []
        assert not (folder / "store" / layout.user_folder("default", "bob")).exists()
        assert http.get("/v1/users/bob").status_code == 404
        assert files_with(folder / "redis", b"bob") == []


@pytest.mark.parametrize("broken", [{"id": 7}, {"kind": None}])
def test_an_error_of_the_database_is_logged_without_what_was_to_be_kept(
    settings: Settings, database_url: str, capsys: pytest.CaptureFixture[str], broken: dict[str, Any]
) -> None:
    """Two rows of one id, and a row without a kind, of which PostgreSQL quotes every value."""
    app = create_app(settings.model_copy(update={"database_url": database_url, "base_model": "/nowhere"}))
    database = Database(database_url)

    def twice() -> None:
        with database.write() as session:
            same = {"tenant_id": "t", "user_id": "u", "query": f"{MARK}\n{MARK}", "response": MARK, "kind": "note"}
            for digest in ("1", "2"):
                row = same | {"digest": digest, "happened_at": now(), "time_given": False} | broken
                session.exec(insert(SampleRow).values(row))

    app.add_api_route("/twice", twice)
    with TestClient(app, raise_server_exceptions=False, headers=AUTH) as client:
        assert client.get("/twice").status_code == 500
    logged = capsys.readouterr().err
    assert IntegrityError.__name__ in logged
    assert MARK not in logged
    database.dispose()


def test_no_user_id_is_part_of_any_path_that_is_written(answering: Service, small_base: Any, tmp_path: Path) -> None:
    for user_id in NASTY_IDS:
        publish(answering, small_base, user_id, seed=len(user_id))
        asked = answering.http.post(f"/v1/users/{user_id}/responses", json={"query": "Hi", "max_new_tokens": 1})
        assert (asked.status_code, asked.json()["mode"]) == (200, "personalized"), user_id
    folder = answering.settings.data_dir.resolve()
    parts = {part for path in folder.rglob("*") for part in path.relative_to(folder).parts}
    assert parts & set(NASTY_IDS) == set()
    for user_id in NASTY_IDS[:4]:
        assert not any(user_id in part for part in parts), user_id


@pytest.mark.parametrize("user_id", ["..", "../../etc", "a/b", "a\\b", "a.b", ".hidden", "a%00b", "", "a" * 129])
def test_an_id_that_could_be_a_path_is_no_user_id(api: TestClient, user_id: str) -> None:
    quoted = user_id.replace("/", "%2F").replace("\\", "%5C") if "%" not in user_id else user_id
    for method in ("GET", "DELETE", "POST"):
        answer = api.request(
            method, f"/v1/users/{quoted}/history", json={"samples": pairs(1)} if method == "POST" else None
        )
        assert answer.status_code in (404, 422), (method, user_id)
    assert api.get("/v1/users").json()["items"] == []


@pytest.mark.parametrize(
    ("change", "body", "code"),
    [
        ({"max_body_bytes": 2000}, {"samples": pairs(40)}, "body_too_large"),
        ({"max_sample_chars": 9}, {"samples": [{"query": "x" * 10, "response": "y"}]}, "sample_too_long"),
        ({"max_history_samples": 3}, {"samples": pairs(4)}, "too_many_samples"),
        ({"max_profile_chars": 4}, {"samples": pairs(1), "profile": "x" * 5}, "invalid_input"),
    ],
)
def test_what_is_too_large_is_refused_and_nothing_of_it_kept(
    api_settings: Settings, change: dict[str, Any], body: dict[str, Any], code: str
) -> None:
    with TestClient(create_app(api_settings.model_copy(update=change)), headers=bearer(KEY)) as api:
        answer = api.post("/v1/users/u/history", json=body)
        assert answer.json()["code"] == code
        assert answer.status_code == (413 if code == "body_too_large" else 422)
        assert json.loads(api.get("/v1/users").text)["items"] == []


def test_a_key_in_a_header_of_a_request_that_crashes_is_not_logged(
    settings: Settings, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    database = Database(sqlite_url)
    key = make_key(database).text
    app = create_app(settings.model_copy(update={"database_url": sqlite_url, "base_model": "/nowhere"}))

    def boom() -> None:
        raise ValueError(f"{key} was in the way")

    app.add_api_route("/boom", boom)
    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.get("/boom", headers=bearer(key)).status_code == 500
    logged = capsys.readouterr().err
    assert "was in the way" in logged
    assert key[-64:] not in logged
    database.dispose()
