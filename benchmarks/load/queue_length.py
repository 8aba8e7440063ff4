"""Ten thousand queued jobs: what asking for one more, listing them and looking for due work cost as they grow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from statistics import median

import httpx
import psutil
from sqlalchemy import text

from app.repositories import waiting
from app.repositories.clock import database_now
from benchmarks.bounds import Bounded, at_most
from benchmarks.load.service import SAMPLES, Running, add_queued_jobs

LENGTHS = (50, 1_000, 10_000)
"""The first fills a page of a list, so that only the queue's length differs."""
REPEATS = 30
WARM_UPS = 10
"""Of each, not counted: the first after others wait for pages and statements that nobody had asked for."""
FLAT = 2.0
"""Most that ten thousand jobs may make of the time with fifty: what only grows with the logarithm stays below."""
_AT_ONCE = 100


def queue_rows(service: Running) -> list[Bounded]:
    """The rows: times with the longest queue over those with the shortest, and the former themselves.

    The worker stands still meanwhile: what it is at, which takes both cores or none, is not the queue's length.
    """
    with _standing_still(service):
        return _rows(service)


@contextmanager
def _standing_still(service: Running) -> Iterator[None]:
    processes = service.processes()["worker"]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def _rows(service: Running) -> list[Bounded]:
    took: dict[str, list[float]] = {}
    there = 0
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {service.key}"}, timeout=60) as http:
        for length in LENGTHS:
            add_queued_jobs(
                service, [f"queued-{number}" for number in range(there, length)], SAMPLES if there == 0 else 0
            )
            with service.database.write() as session:
                # This PostgreSQL, as tests start it, never does by itself.
                session.connection().execute(text("ANALYZE"))
            there = length
            for what, act in _operations(service, http, length).items():
                for number in range(1, WARM_UPS + 1):
                    act(-number)
                took.setdefault(what, []).append(median(_timed(act, number) for number in range(REPEATS)))
                print(f"{length} jobs queued: {what} {took[what][-1]:.1f} ms", flush=True)
    rows = []
    for what, times in took.items():
        rows.append(
            at_most(f"{what}, {LENGTHS[-1]:,} jobs queued over {LENGTHS[0]}", times[-1] / times[0], "times", FLAT)
        )
        rows.append(at_most(f"{what}, {LENGTHS[-1]:,} jobs queued", times[-1], "ms", 50.0))
    return rows


def _operations(service: Running, http: httpx.Client, length: int) -> dict[str, Callable[[int], None]]:
    def enqueue(number: int) -> None:
        samples = [{"query": f"q {i}", "response": f"r {i}"} for i in range(SAMPLES)]
        answer = http.post(f"/v1/users/new-{length}-{number}/history", json={"samples": samples})
        if not answer.json().get("job"):
            raise RuntimeError(f"no job was made: {answer.text}")

    def list_jobs(_: int) -> None:
        http.get("/v1/jobs?limit=50").raise_for_status()

    def list_queued(_: int) -> None:
        http.get("/v1/jobs?limit=50&status=queued").raise_for_status()

    def look_for_work(_: int) -> None:
        with service.database.read() as session:
            waiting.due(session, database_now(session), _AT_ONCE)

    return {
        "history with a new job": enqueue,
        "list of jobs": list_jobs,
        "list of queued jobs": list_queued,
        "look for due steps": look_for_work,
    }


def _timed(act: Callable[[int], None], number: int) -> float:
    began = time.perf_counter()
    act(number)
    return 1e3 * (time.perf_counter() - began)
