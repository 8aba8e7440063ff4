"""Health: alive, ready with the broker and not without it, and figures for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app import presence
from app.main import create_app
from app.settings import Settings
from tests.support.api import pairs, served, wait_until_ready
from tests.support.keys import AUTH
from tests.support.servers import PostgresServer, RedisServer

PARTS = {"database", "broker", "workers", "store", "base_model"}


@pytest.fixture
def client_of(settings: Settings) -> Iterator[Any]:
    """Opens the API with some settings changed."""
    opened: list[TestClient] = []

    def open_with(**changes: object) -> TestClient:
        changed = settings.model_copy(update={"base_model": str(settings.data_dir / "none"), **changes})
        client = TestClient(create_app(changed), raise_server_exceptions=False, headers=AUTH)
        client.__enter__()
        opened.append(client)
        return client

    yield open_with
    for client in opened:
        client.__exit__(None, None, None)


def parts_of(client: TestClient) -> dict[str, Any]:
    """The parts in an answer that says the service is not ready."""
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    parts: dict[str, Any] = answer.json()["parts"]
    assert set(parts) == PARTS
    return parts


def test_the_service_is_ready_with_its_broker_and_not_without_it(settings: Settings, redis_server: RedisServer) -> None:
    with served(settings.model_copy(update={"broker_url": redis_server.url, "dtype": "float32"})) as service:
        wait_until_ready(service.http)
        presence.mark(redis_server.url, "celery@here")
        ready = service.http.get("/readyz").json()
        assert ready["status"] == "ready"
        assert set(ready["parts"]) == PARTS
        assert all(part["ok"] for part in ready["parts"].values())
        redis_server.stop()
        away = service.http.get("/readyz")
        assert (away.status_code, away.json()["code"]) == (503, "not_ready")
        assert "MILP_BROKER_URL" in away.json()["parts"]["broker"]["detail"]
        assert "broker:" in away.json()["detail"]
        # Histories are taken all the same; their jobs wait.
        taken = service.http.post("/v1/users/ann/history", json={"samples": pairs(25)})
        assert (taken.status_code, taken.json()["job"]["status"]) == (202, "queued")
        redis_server.start()
        wait_until_ready(service.http)


def test_a_base_model_that_is_none_is_named_and_the_rest_serves(api: TestClient) -> None:
    while "being loaded" in parts_of(api)["base_model"]["detail"]:
        pass
    parts = parts_of(api)
    assert "MILP_BASE_MODEL" in parts["base_model"]["detail"]
    assert parts["database"]["ok"]
    assert parts["store"]["ok"]
    assert not parts["broker"]["needed"]
    assert api.get("/livez").json() == {"status": "alive"}


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://nobody:secret@127.0.0.1:1/none", "sqlite:////proc/no-such-folder/milp.sqlite3"]
)
def test_a_database_that_is_away_is_an_error_that_says_what_to_do(client_of: Any, url: str) -> None:
    client = client_of(database_url=url)
    part = parts_of(client)["database"]
    assert not part["ok"]
    assert "MILP_" in part["detail"]
    assert "secret" not in part["detail"]
    for method, path, body in [
        ("GET", "/v1/jobs", None),
        ("POST", "/v1/users/ann/history", {"samples": pairs(1)}),
        ("DELETE", "/v1/users/ann", None),
    ]:
        answer = client.request(method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert "milp_database_up 0.0" in client.get("/metrics").text


@pytest.fixture(params=["sqlite", "postgresql"])
def later(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """The URL of a database that is not there, and what makes it appear, empty."""
    if request.param == "sqlite":
        in_the_way = tmp_path / "folder"
        in_the_way.write_text("a file where the database's folder should be")
        yield f"sqlite:///{in_the_way / 'milp.sqlite3'}", in_the_way.unlink
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        yield server.url("later"), lambda: server.execute("CREATE DATABASE later")
        server.execute("DROP DATABASE later WITH (FORCE)")


def test_a_database_that_appears_empty_is_upgraded_without_a_restart(
    later: tuple[str, Callable[[], object]], client_of: Any
) -> None:
    url, appear = later
    client = client_of(database_url=url)
    assert not parts_of(client)["database"]["ok"]
    appear()
    deadline = time.monotonic() + 60
    while not (part := parts_of(client)["database"])["ok"]:
        assert time.monotonic() < deadline, part
        time.sleep(0.05)
    assert client.post("/v1/users/ann/history", json={"samples": pairs(1)}).status_code == 202


def test_a_store_that_cannot_be_written_is_named(client_of: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    client = client_of(store_url=(tmp_path / "file" / "store").as_uri())
    assert not parts_of(client)["store"]["ok"]


def test_a_deletion_that_the_store_cannot_do_changes_nothing(client_of: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    client = client_of(store_url=(tmp_path / "file" / "store").as_uri())
    client.post("/v1/users/ann/history", json={"samples": pairs(25)}).raise_for_status()
    for path in ("/v1/users/ann", "/v1/users/ann/history"):
        answer = client.delete(path)
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert client.get("/v1/users/ann").json()["samples"] == 25
    assert client.get("/v1/jobs").json()["items"][0]["status"] == "queued"


def test_the_figures_tell_requests_by_route_and_jobs_by_status(api: TestClient) -> None:
    for user in ("zoe-1", "zoe-2"):
        api.post(f"/v1/users/{user}/history", json={"samples": pairs(25)})
    api.get("/v1/users/nobody")
    api.get("/nowhere")
    lines = api.get("/metrics").text.splitlines()
    assert 'milp_http_requests_total{method="POST",route="/v1/users/{user_id}/history",status="202"} 2.0' in lines
    assert 'milp_http_requests_total{method="GET",route="/v1/users/{user_id}",status="404"} 1.0' in lines
    assert 'milp_http_requests_total{method="GET",route="unmatched",status="404"} 1.0' in lines
    assert 'milp_http_request_seconds_count{method="POST",route="/v1/users/{user_id}/history"} 2.0' in lines
    assert 'milp_jobs{status="queued"} 2.0' in lines
    assert 'milp_jobs{status="failed"} 0.0' in lines
    assert "milp_steps_waiting 2.0" in lines
    assert not any("zoe" in line or "nowhere" in line for line in lines)


def test_two_apps_in_one_process_count_apart(client_of: Any) -> None:
    first, second = client_of(), client_of()
    first.get("/v1/users/nobody")
    assert 'route="/v1/users/{user_id}"' in first.get("/metrics").text
    assert 'route="/v1/users/{user_id}"' not in second.get("/metrics").text


def test_the_figures_of_workers_are_there_before_anything_has_happened(api: TestClient) -> None:
    lines = api.get("/metrics").text.splitlines()
    for line in (
        'milp_trials_total{state="stopped"} 0.0',
        'milp_gate_decisions_total{decision="base_won"} 0.0',
        'milp_phase_seconds_count{phase="generate"} 0.0',
        'milp_phase_seconds_sum{phase="plan"} 0.0',
        "milp_broker_up 0.0",
        "milp_workers NaN",
    ):
        assert line in lines


def test_workers_are_a_part_that_jobs_alone_wait_for(client_of: Any, redis_server: RedisServer) -> None:
    client = client_of(broker_url=redis_server.url)
    assert "No worker runs, so jobs wait." in parts_of(client)["workers"]["detail"]
    presence.mark(redis_server.url, "celery@here")
    part = parts_of(client)["workers"]
    assert (part["ok"], part["needed"]) == (True, False)
    assert "milp_workers 1.0" in client.get("/metrics").text.splitlines()
    redis_server.stop()
    assert "not known" in parts_of(client)["workers"]["detail"]
    assert "milp_workers NaN" in client.get("/metrics").text.splitlines()


def test_every_part_that_is_missing_is_named_at_once(client_of: Any, tmp_path: Path, redis_server: RedisServer) -> None:
    (tmp_path / "file").write_text("in the way")
    away = (tmp_path / "file").as_uri()
    client = client_of(store_url=away, database_url=f"sqlite:///{tmp_path / 'file' / 'x'}", broker_url=redis_server.url)
    redis_server.stop()
    assert {name for name, part in parts_of(client).items() if not part["ok"]} == {
        *("database", "broker", "workers", "store", "base_model")
    }
