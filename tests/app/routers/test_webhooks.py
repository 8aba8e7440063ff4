"""Webhooks over REST: made, listed, changed, rotated, tested, deleted by an admin; their deliveries, sent again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlmodel import select
from standardwebhooks import Webhook as Verifier
from starlette.testclient import TestClient

from app.database import Database
from app.housekeeping import DELIVERIES_KEPT, forget_old_deliveries
from app.main import create_app
from app.repositories import webhooks
from app.settings import Settings
from app.tables import now
from app.webhook_tables import WebhookDelivery
from tests.app.webhooks.helpers import let_pass
from tests.support.api import pairs
from tests.support.keys import AUTH
from tests.support.receiver import Receiver, receiver
from tests.workers.processes import api_process

EVENTS = ["job.succeeded", "job.failed", "job.cancelled"]


@pytest.fixture
def receiving() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is due is sent at once."""
    monkeypatch.setattr("app.webhooks.sender.EVERY_SECONDS", 0.02)


def made(api: httpx.Client, url: str, **more: Any) -> dict[str, Any]:
    answer = api.post("/v1/webhooks", json={"url": url} | more)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def cancelled_job(api: httpx.Client, user_id: str = "ann") -> str:
    job = api.post(f"/v1/users/{user_id}/history", json={"samples": pairs(25), "personalize": True}).json()["job"]["id"]
    api.post(f"/v1/jobs/{job}/cancel").raise_for_status()
    return str(job)


def wait_for(look: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def deliveries(api: httpx.Client, webhook: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    answer = api.get(f"/v1/webhooks/{webhook['id']}/deliveries", params=query)
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def test_a_cancelled_job_is_told_and_the_delivery_can_be_looked_at(api: TestClient, receiving: Receiver) -> None:
    webhook = made(api, receiving.url)
    job = cancelled_job(api)
    (request,) = receiving.wait_for(1)
    told = Verifier(webhook["secret"]).verify(request.body, request.headers)
    assert (told["type"], told["data"]) == ("job.cancelled", {"job_id": job, "user_id": "ann", "status": "cancelled"})
    (delivery,) = wait_for(lambda: deliveries(api, webhook, state="delivered"))
    assert (delivery["id"], delivery["job_id"], delivery["last_status"]) == (request.id, job, 204)
    assert (delivery["attempts"], delivery["next_attempt_at"], delivery["last_error"]) == (1, None, None)
    assert deliveries(api, webhook, state="failed") == []
    counted = api.get("/metrics").text
    assert 'milp_webhook_deliveries_total{outcome="delivered"} 1.0' in counted


def test_the_secret_is_shown_when_it_is_made_or_rotated_and_nowhere_else(api: TestClient, receiving: Receiver) -> None:
    answer = api.post("/v1/webhooks", json={"url": receiving.url})
    assert answer.headers["cache-control"] == "no-store"
    webhook = answer.json()
    assert (webhook["events"], webhook["enabled"], webhook["created_by"]) == (EVENTS, True, "settings_1")
    rotated = api.post(f"/v1/webhooks/{webhook['id']}/rotate", json={"grace_seconds": 3600})
    assert rotated.headers["cache-control"] == "no-store"
    assert rotated.json()["previous_until"] is not None
    secrets = {webhook["secret"], rotated.json()["secret"]}
    assert len(secrets) == 2
    one = f"/v1/webhooks/{webhook['id']}"
    tested = api.post(f"{one}/test")
    shown = [api.get("/v1/webhooks"), api.get(one), api.patch(one, json={}), tested, api.get(f"{one}/deliveries")]
    for page in [*shown, api.get("/v1/audit"), api.delete(one)]:
        assert page.is_success
        assert not any(secret in page.text for secret in secrets)


def test_webhooks_and_deliveries_come_in_pages_newest_first(api: TestClient, receiving: Receiver) -> None:
    made_ones = [made(api, receiving.url) for _ in range(5)]
    receiving.hold.clear()
    sent = [api.post(f"/v1/webhooks/{made_ones[0]['id']}/test").json()["id"] for _ in range(5)]
    for path, ids in (
        ("/v1/webhooks", [webhook["id"] for webhook in made_ones]),
        (f"/v1/webhooks/{made_ones[0]['id']}/deliveries", sent),
    ):
        first = api.get(path, params={"limit": 3}).json()
        rest = api.get(path, params={"limit": 3, "cursor": first["next_cursor"]}).json()
        assert [item["id"] for item in first["items"] + rest["items"]] == ids[::-1]
        assert rest["next_cursor"] is None
        assert api.get(path, params={"cursor": "nonsense"}).json()["code"] == "invalid_cursor"


def test_a_test_is_sent_whatever_the_events_are(api: TestClient, receiving: Receiver) -> None:
    webhook = made(api, receiving.url, events=["job.failed"])
    delivery = api.post(f"/v1/webhooks/{webhook['id']}/test")
    assert (delivery.status_code, delivery.json()["event"]) == (202, "webhook.test")
    (request,) = receiving.wait_for(1)
    told = Verifier(webhook["secret"]).verify(request.body, request.headers)
    assert (told["type"], told["data"]) == ("webhook.test", {"webhook_id": webhook["id"]})


def test_a_webhook_can_be_moved_and_told_of_other_events(api: TestClient, receiving: Receiver) -> None:
    with receiver() as elsewhere:
        webhook = made(api, receiving.url, events=["job.failed"])
        changed = {"url": f"{elsewhere.url}/new", "events": ["job.cancelled", "job.succeeded", "job.cancelled"]}
        answer = api.patch(f"/v1/webhooks/{webhook['id']}", json=changed).json()
        assert (answer["url"], answer["events"]) == (changed["url"], ["job.succeeded", "job.cancelled"])
        cancelled_job(api)
        assert elsewhere.wait_for(1)[0].path == "/hook/new"
        assert receiving.requests == []


def test_a_disabled_webhook_gets_nothing_and_later_only_what_happens_then(api: TestClient, receiving: Receiver) -> None:
    receiving.answers = [500]
    webhook = made(api, receiving.url)
    one = f"/v1/webhooks/{webhook['id']}"
    cancelled_job(api)
    (waiting,) = wait_for(lambda: deliveries(api, webhook, state="waiting") if receiving.requests else [])
    disabled = api.patch(one, json={"enabled": False}).json()
    assert (disabled["enabled"], disabled["disabled_because"]) == (False, "request")
    (given_up,) = deliveries(api, webhook)
    assert (given_up["state"], given_up["last_error"]) == ("failed", "webhook_disabled")
    cancelled_job(api, "bob")
    for refused in (api.post(f"{one}/test"), api.post(f"{one}/deliveries/{waiting['id']}/redeliver")):
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert "PATCH" in refused.json()["detail"]
    assert api.patch(one, json={"enabled": True}).json()["disabled_at"] is None
    again = api.post(f"{one}/deliveries/{waiting['id']}/redeliver")
    assert (again.status_code, again.json()["id"], again.json()["attempts"]) == (202, waiting["id"], 1)
    assert list(wait_for(lambda: receiving.ids if len(receiving.requests) > 1 else None)) == [waiting["id"]]
    (delivered,) = wait_for(lambda: deliveries(api, webhook, state="delivered"))
    assert delivered["attempts"] == 2


def test_one_that_is_being_sent_is_not_sent_a_second_time_at_once(api: TestClient, receiving: Receiver) -> None:
    receiving.hold.clear()
    webhook = made(api, receiving.url)
    delivery = api.post(f"/v1/webhooks/{webhook['id']}/test").json()["id"]
    receiving.wait_for(1)
    path = f"/v1/webhooks/{webhook['id']}/deliveries/{delivery}/redeliver"
    assert api.post(path).json()["code"] == "conflict"
    receiving.hold.set()
    wait_for(lambda: deliveries(api, webhook, state="delivered"))
    assert api.post(path).status_code == 202
    assert set(wait_for(lambda: receiving.ids if len(receiving.requests) == 2 else None)) == {delivery}


def test_a_deleted_webhook_takes_its_deliveries_along(api: TestClient, receiving: Receiver, database: Database) -> None:
    receiving.answers = [500, 500]
    webhook, other = made(api, receiving.url), made(api, receiving.url)
    cancelled_job(api)
    receiving.wait_for(2)
    assert api.delete(f"/v1/webhooks/{webhook['id']}").json()["url"] == receiving.url
    with database.read() as session:
        assert {delivery.webhook_id for delivery in session.exec(select(WebhookDelivery))} == {other["id"]}
    for answer in (api.get(f"/v1/webhooks/{webhook['id']}"), api.delete(f"/v1/webhooks/{webhook['id']}")):
        assert (answer.status_code, answer.json()["code"]) == (404, "webhook_not_found")


def test_a_deleted_users_deliveries_go_with_them_also_the_one_their_deletion_would_have_made(
    api: TestClient, receiving: Receiver, database: Database
) -> None:
    receiving.answers = [500]
    webhook = made(api, receiving.url)
    cancelled_job(api)
    wait_for(lambda: deliveries(api, webhook, state="waiting") if receiving.requests else [])
    api.post("/v1/users/ann/personalizations", json={}).raise_for_status()
    assert api.delete("/v1/users/ann").json()["removed"]["jobs_cancelled"] == 1
    assert deliveries(api, webhook) == []
    let_pass(database)
    api.post(f"/v1/webhooks/{webhook['id']}/test").raise_for_status()
    wait_for(lambda: deliveries(api, webhook, state="delivered"))
    assert [json.loads(request.body)["type"] for request in receiving.requests] == ["job.cancelled", "webhook.test"]


SENSELESS: list[tuple[dict[str, Any], str]] = [
    ({"url": ""}, "invalid_input"),
    ({"url": "https://example.com/" + "x" * 2048}, "invalid_input"),
    ({"url": 3}, "invalid_input"),
    ({"events": []}, "invalid_input"),
    ({"events": ["job.paused"]}, "invalid_input"),
    ({"secret": "mine"}, "invalid_input"),
    ({"url": "ftp://example.com"}, "invalid_webhook_url"),
    ({"url": "https://me:word@example.com"}, "invalid_webhook_url"),
]


def test_a_webhook_that_makes_no_sense_is_refused_whole(api: TestClient, receiving: Receiver) -> None:
    webhook = made(api, receiving.url)
    for wrong, code in SENSELESS:
        for answer in (
            api.post("/v1/webhooks", json={"url": receiving.url} | wrong),
            api.patch(f"/v1/webhooks/{webhook['id']}", json={"enabled": False} | wrong),
        ):
            assert (answer.status_code, answer.json()["code"]) == (422, code), wrong
    (kept,) = api.get("/v1/webhooks").json()["items"]
    assert (kept["url"], kept["enabled"]) == (receiving.url, True)


def test_private_addresses_and_plain_http_are_refused_unless_a_setting_allows_them(api_settings: Settings) -> None:
    assert Settings(_env_file=None).webhooks_private is False
    strict = api_settings.model_copy(update={"webhooks_private": False})
    with TestClient(create_app(strict), headers=AUTH) as api:
        for url, code in (
            ("http://example.com/hook", "invalid_webhook_url"),
            ("https://localhost/hook", "no_public_address"),
            ("https://169.254.169.254/latest/meta-data", "no_public_address"),
            ("https://[::1]:8321/v1/keys", "no_public_address"),
        ):
            answer = api.post("/v1/webhooks", json={"url": url})
            assert (answer.status_code, answer.json()["code"]) == (422, code), url
            assert "MILP_WEBHOOKS_PRIVATE" in answer.json()["detail"]
        noted = [(entry["action"], entry["outcome"]) for entry in api.get("/v1/audit").json()["items"]]
        assert noted[0] == ("POST /v1/webhooks", "no_public_address")
        assert len(noted) == 4


def test_what_is_not_there_is_not_found(api: TestClient, receiving: Receiver) -> None:
    for webhook_id in ("hook_nope", "no id", "x" * 100):
        for answer in (
            api.get(f"/v1/webhooks/{webhook_id}"),
            api.patch(f"/v1/webhooks/{webhook_id}", json={"enabled": True}),
            api.get(f"/v1/webhooks/{webhook_id}/deliveries"),
            api.post(f"/v1/webhooks/{webhook_id}/deliveries/msg_1/redeliver"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "webhook_not_found"), webhook_id
    one = made(api, receiving.url)
    for delivery_id in ("msg_nope", "no id"):
        answer = api.post(f"/v1/webhooks/{one['id']}/deliveries/{delivery_id}/redeliver")
        assert (answer.status_code, answer.json()["code"]) == (404, "delivery_not_found")


def test_deliveries_that_ended_go_when_their_time_is_over(
    api: TestClient, receiving: Receiver, database: Database
) -> None:
    webhook = made(api, receiving.url)
    old, new = (api.post(f"/v1/webhooks/{webhook['id']}/test").json()["id"] for _ in range(2))
    wait_for(lambda: len(deliveries(api, webhook, state="delivered")) == 2)
    with database.write() as session:
        for delivery in session.exec(select(WebhookDelivery)):
            age = DELIVERIES_KEPT + timedelta(minutes=1) if delivery.id == old else DELIVERIES_KEPT / 2
            delivery.ended_at = now() - age
    forget_old_deliveries(database)
    assert [delivery["id"] for delivery in deliveries(api, webhook)] == [new]


def test_what_a_killed_process_was_sending_another_one_sends(
    settings: Settings, postgres_url: str, receiving: Receiver, tmp_path: Path
) -> None:
    api_settings = settings.model_copy(update={"database_url": postgres_url, "base_model": str(tmp_path / "none")})
    database = Database(postgres_url)
    receiving.hold.clear()
    with (
        api_process(api_settings, tmp_path / "api.log") as url,
        httpx.Client(base_url=url, headers=AUTH, trust_env=False, timeout=60) as http,
    ):
        webhook = made(http, receiving.url)
        cancelled_job(http)
        receiving.wait_for(1)
    # Killed with kill -9 while it waited for an answer.
    receiving.hold.set()
    let_pass(database)
    with TestClient(create_app(api_settings), headers=AUTH) as api:
        (delivery,) = wait_for(lambda: deliveries(api, webhook, state="delivered"))
    assert delivery["attempts"] == 2
    assert receiving.ids == {delivery["id"]: 2}
    with database.read() as session:
        assert webhooks.get_webhook(session, "default", webhook["id"]).enabled
    database.dispose()
