"""Told to stop at a random moment: answers come to their end, batches are handed back, and it does not take long."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from app.database import Database
from app.job_states import StepKind, StepState
from app.settings import Settings
from benchmarks.bounds import at_least, at_most
from tests.faults.figures import Figures
from tests.support.api import events_of, pairs, wait_until_ready
from tests.support.families import save_tiny_model
from tests.support.keys import AUTH
from tests.support.servers import RedisServer
from tests.workers.helpers import add_job, add_person, steps_now
from tests.workers.processes import ApiProcess, WorkerProcess

API_BOUND_SECONDS = 10.0
"""What the image gives requests to end in (`--timeout-graceful-shutdown`)."""
WORKER_BOUND_SECONDS = 12.0
"""What `milp up` gives a worker; compose gives more."""
LONG_ANSWER = {"query": "go on", "mode": "base", "max_new_tokens": 180, "temperature": 1.0}


@pytest.fixture
def api(settings: Settings, sqlite_url: str, tmp_path: Path) -> Iterator[ApiProcess]:
    base = save_tiny_model("llama", tmp_path / "base")
    mine = {"database_url": sqlite_url, "base_model": str(base), "dtype": "float32", "torch_threads": 1}
    process = ApiProcess(settings.model_copy(update=mine), tmp_path / "api.log")
    yield process
    process.kill()


def client(api: ApiProcess) -> httpx.Client:
    return httpx.Client(base_url=api.url, headers=AUTH, timeout=60, trust_env=False)


def whole(api: ApiProcess, seed: int) -> str:
    """An answer in one piece; how it ended."""
    with client(api) as http:
        answer = http.post("/v1/users/ann/responses", json={**LONG_ANSWER, "seed": seed})
        return str(answer.json().get("finish_reason") or answer.json())


def streamed(api: ApiProcess, seed: int, begun: threading.Barrier) -> str:
    """A streamed answer; the name of its last event."""
    text = ""
    with client(api) as http:
        request = http.stream("POST", "/v1/users/ann/responses", json={**LONG_ANSWER, "seed": seed, "stream": True})
        with request as answer:
            for piece in answer.iter_text():
                if not text:
                    begun.wait(60)
                text += piece
    return events_of(text)[-1][0]


def followed(api: ApiProcess, job_id: str, begun: threading.Barrier) -> str:
    """The events of a job that nobody works on: cut when the server ends, for they can be resumed; that they were."""
    with (
        client(api) as http,
        suppress(httpx.RemoteProtocolError),
        http.stream("GET", f"/v1/jobs/{job_id}/events") as stream,
    ):
        for number, _ in enumerate(stream.iter_lines()):
            if number == 0:
                begun.wait(60)
    return "ended"


def test_an_api_told_to_stop_ends_its_answers_and_its_streams(
    api: ApiProcess, figures: Figures, moments: random.Random
) -> None:
    rounds, took = figures.rounds(5, 1), list[float]()
    answers: list[str] = []
    for number in range(rounds):
        api.start()
        with client(api) as http, ThreadPoolExecutor(9) as pool:
            api.wait_until_alive()
            wait_until_ready(http)
            sent = http.post(f"/v1/users/u{number}/history", json={"samples": pairs(25)})
            job_id = sent.json()["job"]["id"]
            http.post("/v1/users/ann/history", json={"samples": pairs(3), "personalize": False})
            begun = threading.Barrier(7)
            running: list[Future[str]] = [pool.submit(whole, api, seed) for seed in range(3)]
            running += [pool.submit(streamed, api, seed, begun) for seed in range(4)]
            streams = [pool.submit(followed, api, job_id, begun) for _ in range(2)]
            begun.wait(60)
            time.sleep(moments.uniform(0.0, 0.2))
            took.append(api.stop())
            answers += [future.result(60) for future in running]
            assert [future.result(60) for future in streams] == ["ended", "ended"]
    cut = [ending for ending in answers if ending not in ("done", "stop", "length")]
    figures.hold(
        at_least("SIGTERM to an API: answers in the making", len(answers), "answers", 7 * rounds),
        at_most("SIGTERM to an API: until it had ended", round(max(took), 1), "s", API_BOUND_SECONDS),
    )
    figures.none_of(cut, "SIGTERM to an API: answers cut short", "answers")


def test_a_worker_told_to_stop_hands_its_batch_back(
    settings: Settings,
    sqlite_url: str,
    redis_server: RedisServer,
    tmp_path: Path,
    figures: Figures,
    moments: random.Random,
) -> None:
    rounds, took, kept = figures.rounds(5, 1), list[float](), list[int]()
    mine = {"database_url": sqlite_url, "broker_url": redis_server.url, "dispatch_seconds": 0.1, "torch_threads": 1}
    quick = settings.model_copy(update=mine)
    database, worker = Database(sqlite_url), WorkerProcess(quick, tmp_path / "worker.log")
    add_person(database)
    job = add_job(database, quick, epochs=100)

    def at_work() -> bool:
        found = steps_now(database, job)
        return any(s.kind == StepKind.evaluate and s.state == StepState.claimed for s in found)

    try:
        for _ in range(rounds):
            worker.start()
            worker.wait_for(at_work)
            time.sleep(moments.uniform(0.0, 3.0))
            took.append(worker.stop())
            kept += [step.id or 0 for step in steps_now(database, job) if step.state == StepState.claimed]
    finally:
        worker.kill()
        database.dispose()
    figures.hold(at_most("SIGTERM to a worker: until it had ended", round(max(took), 1), "s", WORKER_BOUND_SECONDS))
    figures.none_of(kept, "SIGTERM to a worker: batches not handed back", "steps")
