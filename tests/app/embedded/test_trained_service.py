"""A whole service with a version that it trained: what is seen of it from outside, and that it can be restored."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.embedded.service import EmbeddedService
from app.settings import Settings
from tests.app.cli.service import milp
from tests.support.api import served, wait_until_ready
from tests.support.collector import Collector, attributes
from tests.support.families import save_tiny_model
from tests.support.keys import bearer

SENT = [{"query": f"how is number {i}?", "response": "well, thank you"} for i in range(24)]
pytestmark = pytest.mark.slow
QUICK = {"trials": 2, "epochs": 8, "learning_rate": 0.02, "activate": "always"}


@dataclass(frozen=True)
class Trained:
    """A running service, the id of a job that has ended, and the collector that its traces go to."""

    service: EmbeddedService
    http: httpx.Client
    job: str
    collector: Collector


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("trained")
    base = str(save_tiny_model("llama", folder / "base"))
    settings = Settings(
        _env_file=None, data_dir=folder / "data", base_model=base, port=0, max_new_tokens=8, dtype="float32"
    )
    with Collector() as collector, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        with (
            EmbeddedService(settings) as service,
            httpx.Client(base_url=service.url, timeout=240, headers=bearer(service.api_key), trust_env=False) as http,
        ):
            body = {"samples": SENT, "options": QUICK}
            answer = http.post("/v1/users/ann/history", json=body, headers={"X-Request-Id": "the-first"})
            job = answer.json()["job"]["id"]
            with http.stream("GET", f"/v1/jobs/{job}/events") as events:
                assert '"succeeded"' in list(events.iter_lines())[-2]
            yield Trained(service, http, job, collector)


def ask(http: httpx.Client) -> list[dict[str, Any]]:
    answers = [http.post("/v1/users/ann/responses", json={"query": sample["query"]}) for sample in SENT[:3]]
    return [answer.json() for answer in answers]


def test_api_and_worker_send_one_trace_of_a_request_its_job_and_trials(trained: Trained) -> None:
    deadline = time.monotonic() + 60
    while not trained.collector.named("publish"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    request = min(
        trained.collector.named("POST /v1/users/{user_id}/history"), key=lambda span: span.start_time_unix_nano
    )
    of_trace = [(part, span) for part, span in trained.collector.spans if span.trace_id == request.trace_id]
    assert {(part, span.name) for part, span in of_trace} >= {
        ("milp-api", "POST /v1/users/{user_id}/history"),
        *(("milp-worker", name) for name in ("step plan", "step evaluate", "step publish", "trial", "generate")),
    }
    tried = [span for _, span in of_trace if span.name == "trial"]
    assert {attributes(span)["milp.job"] for span in tried} == {trained.job}
    (evaluate,) = (span for _, span in of_trace if span.name == "step evaluate")
    assert evaluate.parent_span_id == request.span_id
    assert {span.parent_span_id for span in tried} == {evaluate.span_id}


def test_api_and_worker_log_json_lines_with_the_ids_of_what_they_are_about(trained: Trained) -> None:
    logs = trained.service.settings.data_dir / "logs"
    for part in ("api", "worker"):
        text = (logs / f"{part}.log").read_text()
        # Celery warns whoever runs it as root before anything of ours is loaded.
        own = text.partition("_warn_or_raise_security_error(egid, euid, gid, uid,\n")
        lines = (own[2] or own[0]).splitlines()
        parsed = [json.loads(line) for line in lines]
        assert all({"event", "level", "timestamp"} <= set(line) for line in parsed)
        of_request = [line for line in parsed if line.get("request_id") == "the-first"]
        assert of_request
        if part == "worker":
            assert {line["job"] for line in of_request} == {trained.job}
            assert [line["trial"] for line in of_request if line["event"] == "trial_measured"] == [0, 1]


def test_the_service_knows_its_worker_and_what_it_did(trained: Trained) -> None:
    assert trained.http.get("/readyz").json()["parts"]["workers"]["ok"] is True
    # Whichever test came before may have begun another job.
    deadline = time.monotonic() + 60
    while not all(job["finished_at"] for job in trained.http.get("/v1/jobs").json()["items"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    jobs = trained.http.get("/v1/jobs").json()["items"]
    lines = trained.http.get("/metrics").text.splitlines()
    assert {"milp_workers 1.0", f'milp_trials_total{{state="succeeded"}} {2.0 * len(jobs)}'} <= set(lines)


def test_a_service_restored_on_an_empty_machine_answers_as_the_one_before(trained: Trained, tmp_path: Path) -> None:
    """Backed up while a worker is at another job."""
    data, key = trained.service.settings.data_dir, trained.service.api_key
    trained.http.post("/v1/users/ben/history", json={"samples": SENT, "options": QUICK}).raise_for_status()
    ran = milp("backup", "b", "--data-dir", str(data), folder=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    shown = ask(trained.http)
    assert shown[0]["mode"] == "personalized"
    files = [path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file()]
    assert not any(key.encode() in content for content in files)

    ran = milp("restore", "b", "--data-dir", "machine", folder=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    shutil.rmtree(tmp_path / "b")
    changes = {"data_dir": tmp_path / "machine", "broker_url": "", "api_keys": {"k": "default"}}
    with served(trained.service.settings.model_copy(update=changes)) as restored:
        wait_until_ready(restored.http)
        assert ask(restored.http) == shown
        # Keys that were in force are again, and the job that was at work goes on where it was.
        assert restored.http.get("/v1/users", headers=bearer(key)).status_code == 200
        statuses = {job["user_id"]: job["status"] for job in restored.http.get("/v1/jobs").json()["items"]}
    assert statuses["ann"] == "succeeded"
    assert statuses["ben"] not in ("failed", "cancelled")
