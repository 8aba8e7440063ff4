"""The dispatcher: it finds what is due in the database, whoever wrote it, and outlives broker and database."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from app.database import Database
from app.job_states import StepKind
from app.repositories import jobs, steps, waiting
from app.tables import Step, now
from tests.support.clocks import clock_off_by
from tests.support.records import add_job
from tests.support.servers import PostgresServer
from tests.workers.helpers import allow, cut_off
from workers.dispatcher import Dispatcher

PATIENCE = 30.0
LEASE_SECONDS = 30.0


class Bell:
    """Stands where the broker is rung: notes the steps it was rung for, or refuses like a broker that is away."""

    def __init__(self) -> None:
        self.rung: list[int] = []
        self.away = False
        self.refused = threading.Event()

    def __call__(self, step: Step) -> None:
        if self.away:
            self.refused.set()
            raise ConnectionError("the broker is away")
        self.rung.append(step.id or 0)


def add_step(database: Database, user_id: str = "u") -> int:
    with database.write() as session:
        job = add_job(session, user_id=user_id)
        return next(s.id or 0 for s in waiting.due(session, now(), 100) if s.job_id == job.id)


@contextmanager
def running(database: Database, bell: Bell) -> Iterator[Dispatcher]:
    dispatcher = make(database, bell)
    dispatcher.start()
    yield dispatcher
    dispatcher.stop()
    dispatcher.join(PATIENCE)
    assert not dispatcher.is_alive()


def make(database: Database, bell: Bell, max_attempts: int = 5) -> Dispatcher:
    return Dispatcher(database, bell, every_seconds=0.02, max_attempts=max_attempts, lease_seconds=LEASE_SECONDS)


def wait_until_rung(bell: Bell, step_id: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while step_id not in bell.rung and time.monotonic() < deadline:
        time.sleep(0.01)
    assert step_id in bell.rung


def test_a_job_that_was_committed_but_never_sent_is_found(database: Database) -> None:
    bell, step_id = Bell(), add_step(database)
    make(database, bell).look()
    assert bell.rung == [step_id]


def test_a_sent_step_is_not_sent_again_at_once(database: Database) -> None:
    bell = Bell()
    dispatcher = make(database, bell)
    add_step(database)
    dispatcher.look()
    dispatcher.look()
    assert len(bell.rung) == 1


def test_what_has_begun_is_sent_before_what_would_begin(database: Database) -> None:
    waiting, begun = add_step(database, "a"), add_step(database, "b")
    with database.write() as session:
        held = steps.claim(session, begun, "worker", lease_seconds=LEASE_SECONDS)
        assert held is not None
        after = jobs.add_step(session, steps.finish(session, held), StepKind.evaluate).id
    bell = Bell()
    make(database, bell).look()
    assert bell.rung == [after, waiting]


def test_paused_jobs_are_not_sent(database: Database) -> None:
    bell, step_id = Bell(), add_step(database)
    with database.write() as session:
        step = session.get(Step, step_id)
        assert step is not None
        jobs.pause_job(session, jobs.get_job(session, "t", step.job_id))
    make(database, bell).look()
    assert bell.rung == []


def test_a_step_whose_worker_fell_silent_is_released_and_sent(database: Database) -> None:
    bell, step_id = Bell(), add_step(database)
    with database.write() as session:
        assert steps.claim(session, step_id, "worker", lease_seconds=-1.0) is not None
    make(database, bell).look()
    assert bell.rung == [step_id]


def test_a_step_whose_workers_all_fell_silent_fails_its_job(database: Database) -> None:
    bell, step_id = Bell(), add_step(database)
    with database.write() as session:
        held = steps.claim(session, step_id, "worker", lease_seconds=-1.0)
        assert held is not None
    make(database, bell, max_attempts=1).look()
    assert bell.rung == []
    with database.read() as session:
        job = jobs.get_job(session, "t", held.job_id)
        assert job.error is not None
        assert job.error["code"] == "gave_up"


def test_who_fell_silent_while_the_database_was_there_is_told_and_who_works_elsewhere_is_not(sqlite_url: str) -> None:
    database, told = Database(sqlite_url), list[set[str]]()
    first, other, third = (add_step(database, user_id) for user_id in ("first", "other", "third"))
    dispatcher = Dispatcher(
        database,
        Bell(),
        every_seconds=0.02,
        max_attempts=5,
        lease_seconds=LEASE_SECONDS,
        end_silent=lambda owners: told.append(set(owners)),
    )
    with database.write() as session:
        assert steps.claim(session, first, "silent", lease_seconds=-1.0) is not None
        assert steps.claim(session, other, "at work", lease_seconds=-1.0) is not None
        assert steps.claim(session, third, "at work", lease_seconds=LEASE_SECONDS) is not None
    dispatcher.look()
    assert told == [{"silent"}]
    with database.write() as session:
        assert steps.claim(session, first, "silent", lease_seconds=-1.0) is not None
    # The look before was long ago: the database was away for all.
    dispatcher._looked -= LEASE_SECONDS
    dispatcher.look()
    assert told == [{"silent"}]
    database.dispose()


@pytest.mark.parametrize("hours", [1, 24 * 365], ids=["an hour", "a year"])
def test_after_the_clock_was_set_back_nobody_waits_for_it_to_come_again(database: Database, hours: int) -> None:
    bell = Bell()
    with clock_off_by(hours):
        due, held = add_step(database, "due"), add_step(database, "held")
        with database.write() as session:
            for step_id in (due, held):
                step = session.get_one(Step, step_id)
                step.send_after = now()
            assert steps.claim(session, held, "worker", LEASE_SECONDS) is not None
            session.get_one(Step, held).lease_until = now() + timedelta(seconds=LEASE_SECONDS)
    make(database, bell).look()
    assert bell.rung == [due]
    with database.read() as session:
        lease_until = session.get_one(Step, held).lease_until
        assert lease_until is not None
        assert now() < lease_until <= now() + timedelta(seconds=LEASE_SECONDS)
    with database.write() as session:
        assert list(steps.release_expired(session, now() + timedelta(seconds=2 * LEASE_SECONDS), 5)) == [held]
    database.dispose()


@pytest.mark.parametrize("hours", [1, -1], ids=["an hour ahead", "an hour behind"])
def test_a_dispatcher_with_a_wrong_clock_rings_for_what_is_due_and_takes_no_live_lease(
    postgres_url: str, hours: int
) -> None:
    database, bell = Database(postgres_url), Bell()
    due, held, silent = (add_step(database, user_id) for user_id in ("due", "held", "silent"))
    with database.write() as session:
        assert steps.claim(session, held, "worker", lease_seconds=30.0) is not None
        assert steps.claim(session, silent, "worker", lease_seconds=-1.0) is not None
    with clock_off_by(hours):
        dispatcher = make(database, bell)
        dispatcher.look()
        # A step sent once rests for a second or more before it is sent again.
        dispatcher.look()
    assert sorted(bell.rung) == [due, silent]
    database.dispose()


def test_steps_wait_while_the_broker_is_away_and_go_out_when_it_is_back(database: Database) -> None:
    bell, step_id = Bell(), add_step(database)
    bell.away = True
    with running(database, bell):
        assert bell.refused.wait(PATIENCE)
        with database.read() as session:
            step = session.get(Step, step_id)
            assert step is not None
            assert step.sends == 0
        bell.away = False
        wait_until_rung(bell, step_id)


def test_it_outlives_a_database_that_is_away(postgres_url: str, postgres_server: PostgresServer) -> None:
    database, bell = Database(postgres_url), Bell()
    step_id = add_step(database)
    with cut_off(postgres_server, database), running(database, bell) as dispatcher:
        time.sleep(0.2)
        assert bell.rung == []
        allow(postgres_server, database)
        wait_until_rung(bell, step_id)
        assert dispatcher.is_alive()
    database.dispose()
