"""Sending: signed, once where all goes well, again after whatever receivers can do wrong, and given up in the end."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from standardwebhooks import Webhook as Verifier
from structlog.testing import capture_logs

from app.database import Database
from app.job_states import JobStatus
from app.metrics import Metrics
from app.tables import now
from app.webhooks import managing
from app.webhooks.schedule import PAUSES_SECONDS
from app.webhooks.sender import Sender
from tests.app.webhooks.helpers import (
    DEED,
    add_webhook,
    deliveries_of,
    end_job,
    let_pass,
    only_delivery,
    send,
    sender,
)
from tests.support.receiver import Receiver, receiver


@pytest.fixture
def database(on_sqlite: Database) -> Database:
    """What receivers do is the same on either; `test_deliveries` has both."""
    return on_sqlite


@pytest.mark.parametrize("status", [JobStatus.succeeded, JobStatus.failed, JobStatus.cancelled])
def test_a_job_that_ends_is_told_once_with_ids_alone_and_a_signature(
    database: Database, receiving: Receiver, status: JobStatus
) -> None:
    webhook = add_webhook(database, receiving)
    job = end_job(database, status)
    send(sender(database))
    (request,) = receiving.requests
    told = Verifier(webhook.secret).verify(request.body, request.headers)
    delivery = only_delivery(database)
    assert told == {
        "type": f"job.{status.value}",
        "timestamp": delivery.created_at.isoformat(),
        "data": {"job_id": job.id, "user_id": "u", "status": status.value},
    }
    assert request.path == "/hook"
    assert (request.headers["content-type"], request.headers["user-agent"]) == ("application/json", "milp-serve")
    assert (delivery.id, delivery.state, delivery.attempts, delivery.last_status) == (request.id, "delivered", 1, 204)
    assert delivery.ended_at is not None
    send(sender(database))
    assert len(receiving.requests) == 1


def test_a_receiver_that_fails_gets_it_again_under_the_same_id(database: Database, receiving: Receiver) -> None:
    receiving.answers = [500, 429, 200]
    add_webhook(database, receiving)
    end_job(database)
    for attempt, status in ((1, 500), (2, 429)):
        send(sender(database))
        delivery = only_delivery(database)
        assert (delivery.state, delivery.attempts, delivery.last_status) == ("waiting", attempt, status)
        # Not before its time.
        send(sender(database))
        assert len(receiving.requests) == attempt
        let_pass(database)
    send(sender(database))
    assert (only_delivery(database).state, only_delivery(database).last_status) == ("delivered", 200)
    assert list(receiving.ids.values()) == [3]
    assert len({request.body for request in receiving.requests}) == 1


def test_the_pauses_are_those_of_the_standard_and_after_the_last_it_is_given_up(
    database: Database, receiving: Receiver
) -> None:
    receiving.answers = [503] * 20
    add_webhook(database, receiving)
    end_job(database)
    for pause in PAUSES_SECONDS:
        began = now()
        send(sender(database))
        due = only_delivery(database).next_attempt_at
        assert due is not None
        assert began + timedelta(seconds=pause) <= due <= now() + timedelta(seconds=pause * 1.2)
        let_pass(database)
    send(sender(database))
    delivery = only_delivery(database)
    assert (delivery.state, delivery.attempts, delivery.next_attempt_at) == ("failed", 10, None)
    let_pass(database)
    send(sender(database))
    assert len(receiving.requests) == 10
    # Asked for again, it has all its attempts before it.
    managing.redeliver(database, DEED, delivery.webhook_id, delivery.id)
    send(sender(database))
    again = only_delivery(database)
    assert (again.state, again.attempts, again.ended_at) == ("waiting", 11, None)
    receiving.answers = []
    let_pass(database)
    send(sender(database))
    assert only_delivery(database).state == "delivered"
    assert set(receiving.ids) == {delivery.id}


def test_a_receiver_that_wants_time_gets_it_within_a_day(database: Database, receiving: Receiver) -> None:
    add_webhook(database, receiving)
    end_job(database)
    for wanted, given in (("3600", 3600), ("999999999", 86_400), ("tomorrow", 1800), ("-5", 7200)):
        receiving.answers, receiving.headers = [503], {"Retry-After": wanted}
        began = now()
        send(sender(database))
        due = only_delivery(database).next_attempt_at
        assert due is not None
        assert began + timedelta(seconds=given) <= due <= now() + timedelta(seconds=given * 1.2)
        let_pass(database)


def test_a_redirect_is_a_failure_and_is_not_followed(database: Database, receiving: Receiver) -> None:
    receiving.answers = [307, 302]
    with receiver() as elsewhere:
        receiving.headers = {"Location": elsewhere.url}
        add_webhook(database, receiving)
        end_job(database)
        for status in (307, 302):
            send(sender(database))
            assert (only_delivery(database).state, only_delivery(database).last_status) == ("waiting", status)
            let_pass(database)
        assert elsewhere.requests == []


@contextmanager
def closing() -> Iterator[str]:
    """A receiver that takes connections and hangs up, as a URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        server.shutdown(socket.SHUT_RDWR)


def test_what_kept_an_answer_from_coming_is_told_in_a_word(
    database: Database, receiving: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.webhooks.sending.ATTEMPT_SECONDS", 1.0)
    receiving.hold.clear()
    with receiver() as away:
        pass
    with closing() as cut:
        for url in (receiving.url, away.url, cut):
            add_webhook(database, url)
        end_job(database)
        send(sender(database))
    waiting = deliveries_of(database)
    assert {(delivery.state, delivery.last_status) for delivery in waiting} == {("waiting", None)}
    assert {delivery.last_error for delivery in waiting} == {"timed_out", "connection_failed", "no_answer"}


def test_an_answer_that_does_not_end_costs_no_more_time_than_its_status(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred gigabytes announced, and a header that never ends."""
    told = [b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\nand so on", b"HTTP/1.1 200 OK\r\nX: y"]
    kept = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for text in told:
                connection, _ = server.accept()
                kept.append(connection)
                connection.recv(65536)
                connection.sendall(text)

        threading.Thread(target=answer, daemon=True).start()
        add_webhook(database, f"http://127.0.0.1:{server.getsockname()[1]}/")
        for state, status, error in (("delivered", 200, None), ("waiting", None, "timed_out")):
            if error:
                monkeypatch.setattr("app.webhooks.sending.ATTEMPT_SECONDS", 0.3)
            end_job(database)
            send(sender(database))
            last = deliveries_of(database)[-1]
            assert (last.state, last.last_status, last.last_error) == (state, status, error)
    for connection in kept:
        connection.close()


def test_attempts_are_counted_by_how_they_went_and_no_url_is_logged(database: Database, receiving: Receiver) -> None:
    receiving.answers = [500]
    webhook = add_webhook(database, f"{receiving.url}/secret-part?token=xyzzymark")
    end_job(database)
    at_work = Sender(database, metrics := Metrics(), private=True)
    with capture_logs() as logged:
        send(at_work)
        let_pass(database)
        send(at_work)
    counted = dict(re.findall(rb'milp_webhook_deliveries_total\{outcome="(\w+)"\} ([\d.]+)', metrics.text()))
    assert counted == {b"postponed": b"1.0", b"delivered": b"1.0"}
    assert len(receiving.requests) == 2
    # A service that other tests share may be sending in this process meanwhile, and logs it.
    ours = [line for line in logged if line.get("webhook") == webhook.id]
    assert [(line["event"], line["outcome"]) for line in ours] == [
        ("webhook_sent", "postponed"),
        ("webhook_sent", "delivered"),
    ]
    assert "xyzzymark" not in str(logged)
