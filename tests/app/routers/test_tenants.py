"""API keys: without one nothing is shown, and a tenant sees nothing of another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from tests.support.api import pairs

ANN, BOB = {"Authorization": "Bearer key-a"}, {"Authorization": "bearer schlüssel".encode()}


@pytest.fixture
def guarded(api_settings: Settings) -> Iterator[TestClient]:
    keys = {"key-a": "tenant-a", "schlüssel": "tenant-b", "key-a2": "tenant-a"}
    app = create_app(api_settings.model_copy(update={"api_keys": keys}))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("header", [None, "Bearer nope", "Bearer key-", "Bearer", "key-a", "Basic key-a", "Bearer "])
def test_without_a_key_nothing_is_answered(guarded: TestClient, header: str | None) -> None:
    headers = {"Authorization": header} if header else {}
    paths = [path for path in guarded.app.openapi()["paths"] if path.startswith("/v1/")]  # type: ignore[attr-defined]
    assert len(paths) > 15
    for path, methods in ((p, guarded.app.openapi()["paths"][p]) for p in paths):  # type: ignore[attr-defined]
        url = path.replace("{user_id}", "u").replace("{job_id}", "job_1").replace("{version_id}", "v_1")
        for method in methods:
            answer = guarded.request(method, url, headers=headers, json={} if method == "post" else None)
            assert answer.status_code == 401, (method, path)
            assert answer.json()["code"] == "unauthorized"
            assert answer.headers["www-authenticate"] == "Bearer"


def test_health_needs_no_key(guarded: TestClient) -> None:
    assert guarded.get("/livez").status_code == 200
    assert guarded.get("/metrics").status_code == 200


def test_a_tenant_sees_nothing_of_another(guarded: TestClient) -> None:
    made = guarded.post("/v1/users/u/history", json={"samples": pairs(25)}, headers=ANN).json()
    job = f"/v1/jobs/{made['job']['id']}"
    for method, path in [
        ("GET", "/v1/users/u"),
        ("GET", "/v1/users/u/history"),
        ("GET", "/v1/users/u/versions"),
        ("DELETE", "/v1/users/u"),
        ("DELETE", "/v1/users/u/history"),
        ("POST", "/v1/users/u/personalizations"),
        ("GET", job),
        ("GET", f"{job}/trials"),
        ("GET", f"{job}/events"),
        ("POST", f"{job}/cancel"),
    ]:
        assert guarded.request(method, path, headers=BOB).status_code == 404, path
    assert guarded.get("/v1/users", headers=BOB).json()["items"] == []
    assert guarded.get("/v1/jobs", headers=BOB).json()["items"] == []
    assert guarded.get(job, headers={"Authorization": "Bearer key-a2"}).json()["status"] == "queued"


def test_an_idempotency_key_is_a_tenants_own(guarded: TestClient) -> None:
    key = {"Idempotency-Key": "k"}
    for tenant in (ANN, BOB):
        headers = dict(tenant) | key  # type: ignore[arg-type]
        answer = guarded.post("/v1/users/u/history", json={"samples": pairs(3)}, headers=headers)
        assert (answer.status_code, answer.json()["added"]) == (202, 3)
        assert "idempotency-replayed" not in answer.headers
