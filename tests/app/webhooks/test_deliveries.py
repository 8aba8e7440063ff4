"""Deliveries as an outbox: written with what they tell of, sent by one sender at a time, gone with their user."""

from __future__ import annotations

import json
import threading

import anyio
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.database import Database
from app.job_states import JobStatus
from app.metrics import Metrics
from app.repositories import deliveries, jobs, users, webhooks
from app.tables import now
from app.webhooks.sender import LEASE, Sender
from tests.app.webhooks.helpers import (
    TENANT,
    add_webhook,
    deliveries_of,
    end_job,
    let_pass,
    only_delivery,
    send,
    sender,
    webhook_now,
)
from tests.support.receiver import Receiver, receiver
from tests.support.records import add_job
from tests.support.servers import PostgresServer
from tests.workers.helpers import cut_off


def test_only_the_events_asked_for_of_the_tenants_own_jobs_are_told(database: Database, receiving: Receiver) -> None:
    add_webhook(database, receiving, ["job.failed"])
    end_job(database, JobStatus.cancelled)
    end_job(database, JobStatus.failed, tenant="another")
    assert deliveries_of(database) == []
    end_job(database, JobStatus.failed)
    assert [delivery.event for delivery in deliveries_of(database)] == ["job.failed"]


def test_what_is_rolled_back_is_not_told(database: Database, receiving: Receiver) -> None:
    add_webhook(database, receiving)

    def fail() -> None:
        with database.write() as session:
            jobs.cancel_job(session, add_job(session))
            raise RuntimeError("before the commit")

    with pytest.raises(RuntimeError):
        fail()
    assert deliveries_of(database) == []


def test_a_receiver_that_is_gone_is_disabled_with_what_waits_for_it(database: Database, receiving: Receiver) -> None:
    receiving.answers = [410]
    webhook = add_webhook(database, receiving)
    end_job(database)
    end_job(database)
    send(sender(database))
    assert len(receiving.requests) == 1
    gone = webhook_now(database, webhook)
    assert (gone.enabled, gone.disabled_because) == (False, "gone")
    first, second = deliveries_of(database)
    assert (first.state, first.last_status) == ("failed", 410)
    assert (second.state, second.last_status, second.last_error) == ("failed", None, "webhook_disabled")
    end_job(database)
    assert len(deliveries_of(database)) == 2


def test_one_of_an_event_written_while_its_webhook_was_being_disabled_is_given_up(
    database: Database, receiving: Receiver
) -> None:
    webhook = add_webhook(database, receiving)
    end_job(database)
    with database.write() as session:
        session.add(webhook)
        webhook.disabled_at = now()
    send(sender(database))
    assert receiving.requests == []
    assert (only_delivery(database).state, only_delivery(database).last_error) == ("failed", "webhook_disabled")


def test_a_webhook_deleted_while_a_job_ends_keeps_the_job_from_nothing(database: Database, receiving: Receiver) -> None:
    webhook = add_webhook(database, receiving)
    ended = threading.Thread(target=end_job, args=(database,))
    with database.write() as session:
        webhooks.delete_webhook(session, webhooks.lock_webhook(session, TENANT, webhook.id))
        ended.start()
        # It gets as far as it can: to the row that is being deleted.
        ended.join(0.3)
    ended.join()
    with database.read() as session:
        assert [job.status for job in jobs.page_jobs(session, TENANT, limit=9).items] == [JobStatus.cancelled]
    assert deliveries_of(database) == []


def test_two_senders_at_once_tell_each_event_once(database_url: str) -> None:
    opened = [Database(database_url) for _ in range(3)]
    with receiver() as one, receiver() as other:
        for to in (one, other):
            add_webhook(opened[0], to)
        for number in range(8):
            end_job(opened[0], user_id=f"u{number}")
        send(*(sender(database) for database in opened))
        assert sorted(one.ids.values()) == sorted(other.ids.values()) == [1] * 8
        assert {(delivery.state, delivery.attempts) for delivery in deliveries_of(opened[0])} == {("delivered", 1)}
    for database in opened:
        database.dispose()


def test_what_a_sender_held_that_fell_silent_is_sent_when_its_lease_is_over(
    database: Database, receiving: Receiver
) -> None:
    webhook = add_webhook(database, receiving)
    end_job(database)
    with database.write() as session:
        silent = deliveries.claim(session, webhook.id, LEASE)
    assert silent is not None
    send(sender(database))
    assert receiving.requests == []
    let_pass(database, LEASE.total_seconds() + 1)
    send(sender(database))
    assert (only_delivery(database).state, only_delivery(database).attempts) == ("delivered", 2)
    # What the silent one says when it comes back is too late.
    with database.write() as session:
        late = deliveries.end(session, silent, only_delivery(database).state, status=500, error=None)
    assert not late
    assert only_delivery(database).last_status == 204


def test_while_a_sender_has_it_no_other_sends_it(database: Database, receiving: Receiver) -> None:
    receiving.hold.clear()
    add_webhook(database, receiving)
    end_job(database)
    busy, idle = sender(database), sender(database)

    async def both() -> None:
        async with anyio.create_task_group() as group:
            await busy.begin(group)
            while not receiving.requests:
                await anyio.sleep(0.01)
            for one in (busy, idle):
                async with anyio.create_task_group() as others:
                    await one.begin(others)
            receiving.hold.set()

    anyio.run(both)
    assert list(receiving.ids.values()) == [1]
    assert only_delivery(database).attempts == 1


def test_a_slow_receiver_holds_up_no_other(database: Database, receiving: Receiver) -> None:
    with receiver() as slow:
        slow.hold.clear()
        add_webhook(database, slow)
        for _ in range(3):
            end_job(database)
        add_webhook(database, receiving)
        end_job(database)

        async def meanwhile() -> None:
            async with anyio.create_task_group() as group:
                await sender(database).begin(group)
                while not receiving.requests:
                    await anyio.sleep(0.01)
                assert len(slow.requests) <= 1
                slow.hold.set()

        anyio.run(meanwhile)
        assert (len(slow.requests), len(receiving.requests)) == (4, 1)


def test_the_deliveries_of_a_deleted_user_are_gone_and_not_sent(database: Database, receiving: Receiver) -> None:
    receiving.answers = [500]
    add_webhook(database, receiving)
    end_job(database, user_id="kept")
    end_job(database, user_id="gone")
    send(sender(database))
    end_job(database, user_id="gone")
    with database.write() as session:
        users.delete_user(session, "t", "gone")
    assert {delivery.user_id for delivery in deliveries_of(database)} == {"kept"}
    before = len(receiving.requests)
    let_pass(database)
    send(sender(database))
    assert all(json.loads(request.body)["data"]["user_id"] == "kept" for request in receiving.requests[before:])


def test_a_user_deleted_while_their_job_is_being_told_leaves_nothing(database: Database, receiving: Receiver) -> None:
    receiving.hold.clear()
    add_webhook(database, receiving)
    end_job(database)
    at_work = Sender(database, metrics := Metrics(), private=True)

    def forget() -> None:
        receiving.wait_for(1)
        with database.write() as session:
            users.delete_user(session, "t", "u")
        receiving.hold.set()

    meanwhile = threading.Thread(target=forget)
    meanwhile.start()
    send(at_work)
    meanwhile.join()
    assert deliveries_of(database) == []
    assert b'milp_webhook_deliveries_total{outcome="lost"} 1.0' in metrics.text()


def test_a_database_that_is_away_for_a_while_ends_no_sender(
    postgres_url: str, postgres_server: PostgresServer, receiving: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.webhooks.sender.EVERY_SECONDS", 0.02)
    monkeypatch.setattr("app.webhooks.sender.LONGEST_WAIT_SECONDS", 0.1)
    database = Database(postgres_url)
    add_webhook(database, receiving)
    end_job(database)

    def waits(logged: list[EventDict]) -> list[EventDict]:
        # A service that other tests share may be sending in this process meanwhile, and logs it.
        return [line for line in logged if line["event"] == "webhooks_wait"]

    async def through_the_gap() -> None:
        async with anyio.create_task_group() as group:
            with cut_off(postgres_server, database), capture_logs() as logged:
                group.start_soon(sender(database).run)
                while not waits(logged):
                    await anyio.sleep(0.01)
            assert len(waits(logged)) == 1
            while not receiving.requests:
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()

    try:
        anyio.run(through_the_gap)
    finally:
        database.dispose()
