"""The only worker there is hangs without dying: in one step, or as a whole. Its job goes on all the same."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from app.database import Database
from app.job_states import StepState
from app.settings import Settings
from app.tables import Job
from benchmarks.bounds import at_most
from tests.faults.figures import Figures
from tests.faults.invariants import processes_of
from tests.support.servers import RedisServer
from tests.workers.helpers import add_job, add_person, assert_ended_well, job_now, steps_now
from tests.workers.processes import WorkerProcess

LEASE_SECONDS = 4.0
STUCK_SECONDS = 40.0
"""Longer than loading the base and what plans takes."""


@pytest.fixture
def hanging(settings: Settings, sqlite_url: str, redis_server: RedisServer) -> Settings:
    return settings.model_copy(
        update={
            "database_url": sqlite_url,
            "broker_url": redis_server.url,
            "torch_threads": 1,
            "dtype": "float32",
            "max_new_tokens": 4,
            "max_sequence_tokens": 48,
            "dispatch_seconds": 0.1,
            "lease_seconds": LEASE_SECONDS,
            "heartbeat_seconds": 0.5,
            "stuck_seconds": STUCK_SECONDS,
            "max_attempts": 50,
        }
    )


@pytest.fixture
def worker(hanging: Settings, tmp_path: Path) -> Iterator[WorkerProcess]:
    process = WorkerProcess(hanging, tmp_path / "worker.log")
    yield process
    process.kill()


def claimed(database: Database, job: Job) -> list[int]:
    return [step.id or 0 for step in steps_now(database, job) if step.state == StepState.claimed]


def attempts(database: Database, job: Job) -> int:
    return sum(step.attempt for step in steps_now(database, job))


def hang_and_go_on(
    hanging: Settings, worker: WorkerProcess, moments: random.Random, whom: Callable[[psutil.Process], bool]
) -> float:
    """Stop those of the worker's processes while it is at a step; seconds until that step was begun anew."""
    database = Database(hanging.database_url)
    add_person(database)
    job = add_job(database, hanging)
    worker.start()

    def to_stop() -> list[psutil.Process]:
        below = psutil.Process(worker.pid).children(recursive=True) if claimed(database, job) else []
        return [process for process in below if whom(process)]

    hung = worker.wait_for(to_stop)
    time.sleep(moments.uniform(0.0, 0.3))
    for process in hung:
        process.suspend()
    began, before = time.monotonic(), attempts(database, job)
    worker.wait_for(lambda: attempts(database, job) > before)
    seconds = time.monotonic() - began
    worker.wait_for(lambda: job_now(database, job).status.is_final)
    assert_ended_well(database, job)
    _, alive = psutil.wait_procs(hung, timeout=30)
    assert alive == [], "who hung was left behind"
    worker.stop()
    assert processes_of(hanging.data_dir) == []
    database.dispose()
    return seconds


def command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def in_proposer(process: psutil.Process) -> bool:
    return "workers.proposer" in command_line(process)


def in_pool(process: psutil.Process) -> bool:
    return "spawn_main" in command_line(process)


def test_a_step_that_hangs_in_a_worker_that_lives_is_ended_and_tried_again(
    hanging: Settings, worker: WorkerProcess, figures: Figures, moments: random.Random
) -> None:
    """The heartbeat goes on from its own thread; what plans does not answer."""
    seconds = hang_and_go_on(hanging, worker, moments, in_proposer)
    bound = STUCK_SECONDS + LEASE_SECONDS + 60
    figures.hold(at_most("a step hangs, its worker lives: until it was begun anew", round(seconds, 1), "s", bound))


def test_a_worker_that_stands_still_as_a_whole_is_replaced(
    hanging: Settings, worker: WorkerProcess, figures: Figures, moments: random.Random
) -> None:
    seconds = hang_and_go_on(hanging, worker, moments, in_pool)
    bound = LEASE_SECONDS + 60
    figures.hold(at_most("the only worker stands still: until its step was begun anew", round(seconds, 1), "s", bound))
