"""Every error is problem+json, whoever raised it; nothing inner is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from adapters_store import errors as store
from app import errors
from app.main import create_app
from app.problems import as_service_error
from app.settings import Settings
from engine import errors as engine
from tests.support.keys import AUTH


@pytest.fixture
def client(settings: Settings, sqlite_url: str) -> Iterator[TestClient]:
    app = create_app(settings.model_copy(update={"database_url": sqlite_url, "base_model": "/nowhere"}))

    def boom() -> None:
        raise ZeroDivisionError("the secret is 42")

    app.add_api_route("/boom", boom)
    with TestClient(app, raise_server_exceptions=False, headers=AUTH) as opened:
        yield opened


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/users/a/b/c/d", 404, "not_found"),
        ("PUT", "/v1/users", 405, "method_not_allowed"),
        ("DELETE", "/v1/jobs", 405, "method_not_allowed"),
        ("GET", "/boom", 500, "internal_error"),
    ],
)
def test_errors_of_the_framework_are_problems_too(
    client: TestClient, method: str, path: str, status: int, code: str
) -> None:
    answer = client.request(method, path, headers={"X-Request-Id": "trace-7"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["code"], problem["status"], problem["instance"]) == (code, status, path)
    assert problem["request_id"] == answer.headers["x-request-id"] == "trace-7"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    if status == 405:
        assert answer.headers["allow"] == "GET"


def test_a_request_id_that_could_forge_a_log_line_is_replaced(client: TestClient) -> None:
    answer = client.get("/livez", headers={"X-Request-Id": 'x" "level":"error'})
    assert '"' not in answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", "invalid_json"),
        (b"", "invalid_input"),
        (b'"text"', "invalid_input"),
        (b"[" * 50_000, "invalid_input"),
        (b'{"query": "caf\xe9"}', "invalid_encoding"),
        (b'{"query": "\\ud800"}', "invalid_input"),
        (b'{"query": "q", "temperature": NaN}', "invalid_input"),
    ],
)
def test_a_body_that_cannot_be_read_is_a_problem(client: TestClient, content: bytes, code: str) -> None:
    answer = client.post("/v1/users/u/responses", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, code)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (engine.PromptTooLongError("long"), errors.PromptTooLongError),
        (engine.HistoryTooShortError("short"), errors.HistoryTooShortError),
        (engine.StackMismatchError("other"), errors.AdapterUnusableError),
        (engine.UnknownArchitectureError("odd"), errors.BaseUnavailableError),
        (engine.EngineError("shut down"), errors.UnavailableError),
        (store.AdapterCorruptError("bad"), errors.AdapterUnusableError),
        (store.AdapterNotFoundError("gone"), errors.AdapterUnusableError),
        (store.StoreError("full"), errors.StoreFailedError),
        (errors.JobNotFoundError("no"), errors.JobNotFoundError),
    ],
)
def test_errors_of_engine_and_store_have_their_problem(raised: Exception, kind: type[Exception]) -> None:
    assert type(as_service_error(raised)) is kind


def test_a_full_queue_says_when_to_come_back() -> None:
    error = as_service_error(engine.QueueFullError("full", 2.6))
    assert error is not None
    assert (error.status, error.headers["Retry-After"]) == (503, "3")
    assert as_service_error(ValueError("nobody meant this")) is None
