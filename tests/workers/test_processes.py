"""Real workers on a real Redis: killed in every phase, told to stop, with the broker gone or emptied under them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.database import Database
from app.job_states import JobStatus, StepKind, StepState, TrialState
from app.settings import Settings
from app.tables import Job, Step
from tests.support.servers import RedisServer
from tests.workers.helpers import add_job, add_person, assert_ended_well, job_now, samples, steps_now, trials_now
from tests.workers.processes import WorkerProcess

SHORT_LEASE = {"lease_seconds": 2.0, "heartbeat_seconds": 0.3, "dispatch_seconds": 0.1, "max_attempts": 9}


@pytest.fixture
def service(settings: Settings, request: pytest.FixtureRequest, redis_server: RedisServer) -> Settings:
    """Settings of a service with a real broker, on the database that the test's parameter names."""
    url = request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_url")
    return settings.model_copy(update={"database_url": url, "broker_url": redis_server.url, **SHORT_LEASE})


@pytest.fixture
def worker(service: Settings, tmp_path: Path) -> Iterator[WorkerProcess]:
    process = WorkerProcess(service, tmp_path / "worker.log")
    yield process
    process.kill()


@pytest.fixture
def service_database(service: Settings) -> Iterator[Database]:
    database = Database(service.resolved_database_url)
    yield database
    database.dispose()


def at_work(database: Database, job: Job, kind: StepKind) -> Step | None:
    """The step of this kind that a worker holds, if any."""
    return next((s for s in steps_now(database, job) if s.kind == kind and s.state == StepState.claimed), None)


def finished(database: Database, job: Job) -> dict[int, object]:
    """When each finished trial ended."""
    return {t.number: t.finished_at for t in trials_now(database, job) if t.state == TrialState.succeeded}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("service", ["postgres"], indirect=True)
def test_a_worker_killed_in_each_phase_loses_only_what_it_was_at(
    service: Settings, worker: WorkerProcess, service_database: Database
) -> None:
    add_person(service_database)
    job = add_job(service_database, service, trials=4)
    killed: list[int] = []
    done_before: dict[int, object] = {}
    for kind in (StepKind.plan, StepKind.evaluate, StepKind.publish):
        worker.start()
        step = worker.wait_for(lambda kind=kind: at_work(service_database, job, kind))  # type: ignore[misc]
        worker.kill()
        held = at_work(service_database, job, kind)
        assert held is not None, f"the {kind} step ended before the worker was killed"
        assert held.id == step.id
        killed.append(held.id or 0)
        done_before |= finished(service_database, job)
    worker.start()
    worker.wait_for(lambda: job_now(service_database, job).status.is_final)
    assert_ended_well(service_database, job, trials=4)
    attempts = {step.id: step.attempt for step in steps_now(service_database, job)}
    assert {step_id: attempts[step_id] for step_id in killed} == dict.fromkeys(killed, 2)
    assert all(count == 1 for step_id, count in attempts.items() if step_id not in killed)
    assert len(done_before) == 4
    assert finished(service_database, job) == done_before


def test_a_job_outlives_a_broker_that_is_killed_and_one_that_is_emptied(
    service: Settings, worker: WorkerProcess, service_database: Database, redis_server: RedisServer
) -> None:
    add_person(service_database)
    job = add_job(service_database, service)
    worker.start()
    worker.wait_for(lambda: at_work(service_database, job, StepKind.plan))
    redis_server.kill()
    worker.wait_for(lambda: job_now(service_database, job).trials_planned > 0)
    redis_server.start()
    worker.wait_for(lambda: at_work(service_database, job, StepKind.evaluate))
    redis_server.kill()
    worker.wait_for(lambda: len(finished(service_database, job)) == 2)
    redis_server.start()
    redis_server.flush()
    worker.wait_for(lambda: job_now(service_database, job).status.is_final)
    assert_ended_well(service_database, job)
    assert {step.attempt for step in steps_now(service_database, job)} == {1}


_API = """
import os, signal, sys
from app.database import Database
from app.settings import Settings
from tests.workers.helpers import add_job
add_job(Database(sys.argv[1]), Settings(_env_file=None), sys.argv[2])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_jobs_of_an_api_killed_right_after_its_commit_run_and_a_worker_told_to_stop_gives_its_step_back(
    service: Settings, worker: WorkerProcess, service_database: Database
) -> None:
    add_person(service_database, samples(5), user_id="short")
    url = service_database.url.render_as_string(hide_password=False)
    ended = subprocess.run([sys.executable, "-c", _API, url, "short"], cwd=Path(__file__).parents[2], check=False)
    assert ended.returncode == -9
    worker.start()
    with service_database.read() as session:
        job = session.get_one(Step, 1)
    committed = Job(id=job.job_id, tenant_id=job.tenant_id)
    worker.wait_for(lambda: job_now(service_database, committed).status.is_final)
    error = job_now(service_database, committed).error
    assert error is not None
    assert error["code"] == "history_too_short"

    add_person(service_database)
    long = add_job(service_database, service, epochs=100)
    worker.wait_for(lambda: at_work(service_database, long, StepKind.evaluate))
    worker.stop()
    assert at_work(service_database, long, StepKind.evaluate) is None
    assert job_now(service_database, long).status is JobStatus.evaluating


def test_the_main_process_of_a_worker_loads_no_model_libraries() -> None:
    check = "import sys, workers.tasks; sys.exit(' '.join({'torch', 'transformers', 'botorch'} & set(sys.modules)))"
    ended = subprocess.run(
        [sys.executable, "-c", check], cwd=Path(__file__).parents[2], check=False, capture_output=True
    )
    assert ended.stderr.decode().strip() == ""
