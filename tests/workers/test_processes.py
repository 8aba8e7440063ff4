"""Real workers on a real Redis: killed in every phase, told to stop, with the broker gone or emptied under them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from app.database import Database
from app.job_states import JobStatus, StepKind, StepState, TrialState
from app.settings import Settings
from app.tables import Job, Step
from tests.support.keys import AUTH
from tests.support.servers import RedisServer
from tests.workers.helpers import (
    add_job,
    add_person,
    assert_ended_well,
    assert_only_versions_are_stored,
    events_now,
    job_now,
    samples,
    steps_now,
    trials_now,
)
from tests.workers.processes import WorkerProcess, api_process

QUICK = {"heartbeat_seconds": 0.3, "dispatch_seconds": 0.1, "max_attempts": 9}


@pytest.fixture
def lease() -> float:
    """Seconds. Short, so that what a killed worker held is soon taken by another."""
    return 2.0


@pytest.fixture
def service(settings: Settings, request: pytest.FixtureRequest, redis_server: RedisServer, lease: float) -> Settings:
    """Settings of a service with a real broker, on the database that the test's parameter names."""
    url = request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_url")
    return settings.model_copy(
        update={"database_url": url, "broker_url": redis_server.url, "lease_seconds": lease, **QUICK}
    )


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


def at_work(database: Database, job: Job, kind: StepKind, first_round: int = 0) -> Step | None:
    """The step of this kind, of this round or a later one, that a worker holds, if any."""
    held = (s for s in steps_now(database, job) if s.kind == kind and s.state == StepState.claimed)
    return next((step for step in held if step.round >= first_round), None)


def finished(database: Database, job: Job) -> dict[int, object]:
    """When each finished trial ended."""
    return {t.number: t.finished_at for t in trials_now(database, job) if t.state == TrialState.succeeded}


@pytest.mark.slow  # `make test-faults` kills at random moments what this kills in each phase
@pytest.mark.timeout(600)
@pytest.mark.parametrize("service", ["postgres"], indirect=True)
def test_a_worker_killed_in_each_phase_loses_only_what_it_was_at(
    service: Settings, worker: WorkerProcess, service_database: Database
) -> None:
    add_person(service_database)
    job = add_job(service_database, service, trials=4)
    killed: list[int] = []
    done_at_kill: list[dict[int, object]] = []
    # The evaluate step is one of the second round, so that trials of the first have ended by then.
    for kind, first_round in ((StepKind.plan, 0), (StepKind.evaluate, 1), (StepKind.publish, 0)):
        worker.start()
        step = worker.wait_for(partial(at_work, service_database, job, kind, first_round))
        worker.kill()
        held = at_work(service_database, job, kind)
        assert held is not None, f"the {kind} step ended before the worker was killed"
        assert held.id == step.id
        killed.append(held.id or 0)
        done_at_kill.append(finished(service_database, job))
    worker.start()
    worker.wait_for(lambda: job_now(service_database, job).status.is_final)
    assert_ended_well(service_database, job, trials=4)
    assert_only_versions_are_stored(service, service_database)
    attempts = {step.id: step.attempt for step in steps_now(service_database, job)}
    assert {step_id: attempts[step_id] for step_id in killed} == dict.fromkeys(killed, 2)
    assert all(count == 1 for step_id, count in attempts.items() if step_id not in killed)
    assert [set(done) for done in done_at_kill] == [set(), {0, 1, 2}, {0, 1, 2, 3}]
    in_the_end = finished(service_database, job)
    assert all(done.items() <= in_the_end.items() for done in done_at_kill)
    assert sorted(event["number"] for event in events_now(service_database, job, "trial")) == [0, 1, 2, 3]


@pytest.mark.slow  # half a minute; that begun jobs come first is also tested without processes
def test_of_many_jobs_the_first_has_ended_before_the_last_begins(
    service: Settings, worker: WorkerProcess, service_database: Database
) -> None:
    many = []
    for number in range(8):
        add_person(service_database, user_id=f"person-{number}")
        many.append(add_job(service_database, service, f"person-{number}"))
    worker.start()
    worker.wait_for(lambda: all(job_now(service_database, job).status.is_final for job in many))
    ended = [job_now(service_database, job) for job in many]
    first = min(job.finished_at for job in ended if job.finished_at)
    assert sum(job.started_at is not None and job.started_at < first for job in ended) < len(many) / 2


@pytest.mark.slow  # half a minute; `make test-faults` does so at random moments
@pytest.mark.parametrize("lease", [60.0])  # nobody is killed, and without a broker nobody could take it over
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


def test_a_job_of_an_api_killed_right_after_its_answer_runs_once_there_is_a_worker(
    service: Settings, worker: WorkerProcess, service_database: Database, tmp_path: Path
) -> None:
    sent = [{"query": s.query, "response": s.response} for s in samples()]
    body = {"samples": sent, "options": {"trials": 2, "epochs": 1, "seed": 7}}
    with api_process(service, tmp_path / "api.log") as url:
        answer = httpx.post(f"{url}/v1/users/ada/history", json=body, timeout=60, trust_env=False, headers=AUTH)
    assert answer.status_code == 202, answer.text
    job = Job(id=answer.json()["job"]["id"], tenant_id="default")
    assert job_now(service_database, job).status is JobStatus.queued
    worker.start()
    worker.wait_for(lambda: job_now(service_database, job).status.is_final)
    assert_ended_well(service_database, job)


def test_a_worker_told_to_stop_gives_its_step_back(
    service: Settings, worker: WorkerProcess, service_database: Database
) -> None:
    worker.start()
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
