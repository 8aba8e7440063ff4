"""The stream of a job's events: complete, resumable, and ended with the job or with the server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.database import Database
from app.repositories import events, jobs
from app.settings import Settings
from tests.support.api import Service, events_of, pairs, served
from tests.support.keys import AUTH, KEYS_VARIABLE


@pytest.fixture
def service(api_settings: Settings) -> Iterator[Service]:
    with served(api_settings) as running:
        yield running


def start(http: httpx.Client) -> str:
    return str(http.post("/v1/users/ann/history", json={"samples": pairs(25)}).json()["job"]["id"])


def tell(database: Database, job_id: str, number: int) -> None:
    with database.write() as session:
        events.append(session, jobs.get_job(session, "default", job_id), "trial", {"number": number})


def test_the_stream_tells_everything_as_it_happens_and_ends_with_the_job(service: Service) -> None:
    job_id = start(service.http)
    tell(service.database, job_id, 0)
    seen: list[tuple[str, Any]] = []
    with service.http.stream("GET", f"/v1/jobs/{job_id}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        block: list[str] = []
        for line in response.iter_lines():
            if line:
                block.append(line)
                continue
            for event, _, data in events_of("\n".join(block)):
                seen.append((event, data.get("number", data.get("status"))))
                if seen[-1] == ("trial", 0):
                    tell(service.database, job_id, 1)
                if seen[-1] == ("trial", 1):
                    service.http.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
            block = []
    assert seen == [("status", "queued"), ("trial", 0), ("trial", 1), ("status", "cancelled")]


def test_a_lost_connection_is_resumed_after_the_last_event_seen(service: Service) -> None:
    job_id = start(service.http)
    for number in range(3):
        tell(service.database, job_id, number)
    service.http.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    everything = events_of(service.http.get(f"/v1/jobs/{job_id}/events").text)
    assert [event for event, _, _ in everything] == ["status", "trial", "trial", "trial", "status"]
    rest = service.http.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": everything[2][1]})
    assert events_of(rest.text) == everything[3:]
    nothing = service.http.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": everything[-1][1]})
    assert events_of(nothing.text) == []


def test_more_events_than_one_look_finds_are_all_told(service: Service) -> None:
    job_id = start(service.http)
    with service.database.write() as session:
        job = jobs.get_job(session, "default", job_id)
        for number in range(450):
            events.append(session, job, "trial", {"number": number})
        jobs.cancel_job(session, job)
    told = events_of(service.http.get(f"/v1/jobs/{job_id}/events").text)
    assert [data["number"] for event, _, data in told if event == "trial"] == list(range(450))
    assert told[-1][2]["status"] == "cancelled"


def test_a_quiet_stream_is_kept_alive(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.routers.job_events.KEEP_ALIVE_SECONDS", 0.1)
    job_id = start(service.http)
    with service.http.stream("GET", f"/v1/jobs/{job_id}/events") as response:
        assert any(line.startswith(":") for line in response.iter_lines())


def test_the_stream_of_a_deleted_job_ends(service: Service) -> None:
    job_id = start(service.http)
    with service.http.stream("GET", f"/v1/jobs/{job_id}/events") as response:
        lines = response.iter_lines()
        assert next(lines).startswith("id:")
        service.http.delete("/v1/users/ann").raise_for_status()
        assert not any(line.startswith("event: trial") for line in lines)


@pytest.mark.parametrize("last", ["soon", "-1", "1.5", "9" * 30])
def test_a_last_event_id_that_is_none_is_refused(service: Service, last: str) -> None:
    answer = service.http.get(f"/v1/jobs/{start(service.http)}/events", headers={"Last-Event-ID": last})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


def test_an_open_stream_does_not_keep_the_server_from_stopping(sqlite_url: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MILP_")} | {
        **KEYS_VARIABLE,
        "MILP_DATABASE_URL": sqlite_url,
        "MILP_DATA_DIR": str(tmp_path),
        "MILP_BASE_MODEL": str(tmp_path / "none"),
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", "--port", str(port)]
    server = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False, headers=AUTH) as http:
            while not _alive(http):
                assert server.poll() is None, server.communicate()[1]
            job_id = start(http)
            with http.stream("GET", f"/v1/jobs/{job_id}/events") as response:
                lines = response.iter_lines()
                assert next(lines).startswith("id:")
                server.send_signal(signal.SIGTERM)
                # It would stay for ever, as the job does.
                assert server.wait(60) in (0, -signal.SIGTERM)
    finally:
        server.kill()
        server.communicate()


def _alive(http: httpx.Client) -> bool:
    try:
        return http.get("/livez").status_code == 200
    except httpx.TransportError:
        time.sleep(0.1)
        return False
