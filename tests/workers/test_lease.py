"""The heartbeat: it keeps a lease while work goes on, and says when the lease is lost."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

from app.database import Database
from app.repositories import jobs, steps, waiting
from app.tables import Step, now
from tests.support.records import add_job
from tests.support.servers import PostgresServer
from tests.workers.helpers import cut_off
from workers.lease import Heartbeat

PATIENCE = 20.0
LEASE = 1.0


def claim_step(database: Database) -> tuple[str, steps.Claim]:
    with database.write() as session:
        job = add_job(session)
        (step,) = waiting.due(session, now(), 10)
        held = steps.claim(session, step.id or 0, "worker", LEASE)
        assert held is not None
        return job.id, held


def lease_until(database: Database, held: steps.Claim) -> object:
    with database.read() as session:
        step = session.get(Step, held.step_id)
        assert step is not None
        return step.lease_until


def test_a_heartbeat_keeps_a_lease_from_running_out(database: Database) -> None:
    _, held = claim_step(database)
    with Heartbeat(database, held, LEASE, every_seconds=0.1) as heartbeat:
        first = lease_until(database, held)
        deadline = time.monotonic() + PATIENCE
        while lease_until(database, held) == first and time.monotonic() < deadline:
            time.sleep(0.02)
        assert lease_until(database, held) != first
        assert not heartbeat.lost.is_set()


def test_a_lease_shorter_than_the_pause_between_beats_is_renewed_in_time(database: Database) -> None:
    _, held = claim_step(database)
    first = lease_until(database, held)
    with Heartbeat(database, held, LEASE, every_seconds=3600.0):
        deadline = time.monotonic() + PATIENCE
        while lease_until(database, held) == first and time.monotonic() < deadline:
            time.sleep(0.02)
    assert lease_until(database, held) != first


def test_a_heartbeat_tells_that_the_job_was_cancelled(database: Database) -> None:
    job_id, held = claim_step(database)
    with Heartbeat(database, held, LEASE, every_seconds=0.05) as heartbeat:
        with database.write() as session:
            jobs.cancel_job(session, jobs.get_job(session, "t", job_id))
        assert heartbeat.lost.wait(PATIENCE)


def test_a_heartbeat_tells_that_another_worker_took_the_step(database: Database) -> None:
    _, held = claim_step(database)
    with Heartbeat(database, held, LEASE, every_seconds=0.05) as heartbeat:
        with database.write() as session:
            steps.release_expired(session, now() + timedelta(hours=1), 5)
            assert steps.claim(session, held.step_id, "another", LEASE) is not None
        assert heartbeat.lost.wait(PATIENCE)


def test_work_without_a_sign_of_life_loses_its_lease_and_work_with_one_does_not(sqlite_url: str) -> None:
    database, stuck = Database(sqlite_url), threading.Event()
    _, held = claim_step(database)
    with Heartbeat(database, held, LEASE, 0.05, stuck_seconds=0.5, on_stuck=stuck.set) as heartbeat:
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            heartbeat.alive()
            assert not heartbeat.lost.wait(0.02)
        assert heartbeat.lost.wait(PATIENCE)
        assert stuck.wait(PATIENCE)
        renewed = lease_until(database, held)
    assert lease_until(database, held) == renewed
    database.dispose()


def test_a_lease_counts_as_lost_when_the_database_stays_away_for_as_long(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    database = Database(postgres_url)
    _, held = claim_step(database)
    with Heartbeat(database, held, LEASE, every_seconds=0.1) as heartbeat, cut_off(postgres_server, database):
        assert heartbeat.lost.wait(PATIENCE)
    database.dispose()
