"""Erasing over HTTP, on both databases: what the receipt says, who is waited for, and what nobody can slip in."""

from __future__ import annotations

import hashlib
from typing import Any

import jwt
import pytest
from starlette.testclient import TestClient

from adapters_store import layout
from app.database import Database
from app.erasure_states import HolderState
from app.errors import DatabaseAwayError
from app.forgetting.forgetter import Forgetter
from app.repositories import erasures, processes, waiting
from app.repositories.history import sample_digest
from app.repositories.steps import claim
from app.state import Services
from app.tables import Step, now
from tests.support.api import pairs

DIGEST = layout.user_digest("default", "ann")


@pytest.fixture
def services(api: TestClient) -> Services:
    """What the API's process holds."""
    found: Services = api.app_state["services"]
    return found


def learned(api: TestClient, user_id: str = "ann", **more: Any) -> None:
    """A user with a history and a queued job."""
    api.post(f"/v1/users/{user_id}/history", json={"samples": pairs(30), **more}).raise_for_status()


def another_process(database: Database) -> str:
    """An API process that is known and does nothing; its id."""
    with database.write() as session:
        return processes.register(session, "elsewhere:1", 60).id


def claimed_step(database: Database) -> Step:
    """A step that a worker has just taken."""
    with database.write() as session:
        (step,) = waiting.due(session, now(), 1)
        assert claim(session, step.id or 0, "worker:1", 60)
    return step


def test_the_receipt_says_what_is_gone_and_anyone_can_verify_it(api: TestClient) -> None:
    learned(api)
    erased = api.delete("/v1/users/ann").json()
    assert (erased["kind"], erased["state"], erased["user_digest"]) == ("user", "complete", DIGEST)
    digests = sorted(sample_digest(pair["query"], pair["response"]) for pair in pairs(30))
    assert erased["removed"] == {
        "samples": 30,
        "samples_digest": hashlib.sha256("\n".join(digests).encode()).hexdigest(),
        "jobs": 1,
        "jobs_cancelled": 1,
        "trials": 0,
        "versions": [],
        "stacks": 0,
        "remembered_answers": 0,
        "webhook_deliveries": 0,
    }
    assert [holder["state"] for holder in erased["holders"]] == ["forgot"]
    keys = jwt.PyJWKSet.from_dict(api.get("/v1/erasures/keys").json())
    key = keys[jwt.get_unverified_header(erased["receipt"])["kid"]]
    claims = jwt.decode(erased["receipt"], key, algorithms=["EdDSA"], options={"verify_iat": False})
    assert (claims["jti"], claims["sub"], claims["tenant"]) == (erased["id"], DIGEST, "default")
    assert claims["removed"] == erased["removed"]
    assert claims["completed_at"].replace("+00:00", "Z") == erased["completed_at"]
    assert "ann" not in str({**claims, "tenant": ""})
    head, body, signature = erased["receipt"].split(".")
    forged = ".".join([head, body[:-2] + ("AA" if body[-2:] != "AA" else "BB"), signature])
    with pytest.raises(jwt.InvalidTokenError):
        jwt.decode(forged, key, algorithms=["EdDSA"])


def test_receipts_stay_and_share_one_key(api: TestClient) -> None:
    for user_id in ("ann", "ben"):
        learned(api, user_id)
        api.delete(f"/v1/users/{user_id}").raise_for_status()
    listed = api.get("/v1/erasures").json()["items"]
    assert [item["user_digest"] for item in listed] == [layout.user_digest("default", "ben"), DIGEST]
    assert api.get(f"/v1/erasures/{listed[1]['id']}").json() == listed[1]
    assert len(api.get("/v1/erasures/keys").json()["keys"]) == 1
    assert api.get("/v1/erasures/erasure_0").json()["code"] == "erasure_not_found"


def test_what_is_gone_is_gone_and_cannot_be_erased_twice(api: TestClient) -> None:
    learned(api)
    api.delete("/v1/users/ann").raise_for_status()
    for method, path in (
        ("DELETE", "/v1/users/ann"),
        ("GET", "/v1/users/ann"),
        ("GET", "/v1/users/ann/history"),
        ("DELETE", "/v1/users/ann/history"),
    ):
        answer = api.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")
    assert api.get("/v1/jobs").json()["items"] == []


def test_an_answer_kept_for_a_repeat_goes_with_the_user_it_names_and_others_stay(
    api: TestClient, database: Database
) -> None:
    bodies = {"ann": {"samples": pairs(2)}, "Ann": {"samples": pairs(3)}}
    for user_id, body in bodies.items():
        key = {"Idempotency-Key": f"once-{user_id}"}
        api.post(f"/v1/users/{user_id}/history", json=body, headers=key).raise_for_status()
    assert api.delete("/v1/users/ann").json()["removed"]["remembered_answers"] == 1
    again = {
        user_id: api.post(f"/v1/users/{user_id}/history", json=body, headers={"Idempotency-Key": f"once-{user_id}"})
        for user_id, body in bodies.items()
    }
    assert "Idempotency-Replayed" not in again["ann"].headers
    assert again["Ann"].headers["Idempotency-Replayed"] == "true"


def test_the_audit_log_goes_on_with_a_digest_in_the_users_place(api: TestClient) -> None:
    learned(api)
    learned(api, "ann-2")
    api.post("/v1/users/ann/versions/deactivate").raise_for_status()
    api.delete("/v1/users/ann").raise_for_status()
    targets = [(entry["action"].split()[0], entry["target"]) for entry in api.get("/v1/audit").json()["items"]]
    assert targets == [("DELETE", DIGEST), ("POST", DIGEST), ("POST", "ann-2"), ("POST", DIGEST)]


def test_an_erasure_is_complete_only_once_every_process_has_confirmed_and_until_then_nothing_is_taken_in(
    api: TestClient, services: Services, database: Database
) -> None:
    learned(api)
    other = another_process(database)
    erased = api.delete("/v1/users/ann").json()
    assert erased["state"] == "erasing"
    states = {holder["name"]: holder["state"] for holder in erased["holders"]}
    assert states.pop(other) == "waiting"
    assert list(states.values()) == ["forgot"]
    refused = api.post("/v1/users/ann/history", json={"samples": pairs(2)})
    assert (refused.status_code, refused.json()["code"]) == (409, "user_being_erased")
    assert refused.headers["Retry-After"]
    imported = api.post(
        "/v1/imports?format=csv&personalize=false",
        content=b"user_id,query,response\nann,Hi,Ho\nben,Hi,Ho\n",
        headers={"Content-Type": "application/octet-stream"},
    ).json()
    assert [user["error"] and user["error"]["code"] for user in imported["users"]] == ["user_being_erased", None]
    with database.write() as session:
        erasures.confirm(session, other, HolderState.forgot)
    services.forgetter.look()
    done = api.get(f"/v1/erasures/{erased['id']}").json()
    assert done["state"] == "complete"
    assert done["receipt"] != erased["receipt"]
    api.post("/v1/users/ann/history", json={"samples": pairs(2)}).raise_for_status()


def test_a_process_that_fell_silent_is_not_waited_for_longer_than_its_lease(
    api: TestClient, services: Services, database: Database
) -> None:
    learned(api)
    with database.write() as session:
        silent = processes.register(session, "elsewhere:1", 0.3).id
    erased = api.delete("/v1/users/ann").json()
    for _ in range(200):
        services.forgetter.look()
        done = api.get(f"/v1/erasures/{erased['id']}").json()
        if done["state"] == "complete":
            break
    assert {holder["name"]: holder["state"] for holder in done["holders"]}[silent] == "lapsed"


def test_a_process_that_lost_its_lease_drops_everything_and_is_a_new_one(
    services: Services, database: Database
) -> None:
    services.forgetter.look()
    services.memory._kept[("default", "ann")] = ((now(), now(), 0), None)  # type: ignore[assignment]
    with database.write() as session:
        (before,) = processes.running(session, now())
        processes.remove(session, before.id)
    services.forgetter._renewed_at = float("-inf")
    services.forgetter.look()
    assert services.memory._kept == {}
    with database.read() as session:
        (after,) = processes.running(session, now())
    assert after.id != before.id


def test_a_request_in_flight_is_waited_for(api: TestClient, services: Services) -> None:
    learned(api)
    visit = services.presence.enter("default", "ann")
    services.memory._kept[("default", "ann")] = ((now(), now(), 0), None)  # type: ignore[assignment]
    erased = api.delete("/v1/users/ann").json()
    assert erased["state"] == "erasing"
    # What it had read, it may have put there meanwhile.
    services.memory._kept[("default", "ann")] = ((now(), now(), 0), None)  # type: ignore[assignment]
    services.presence.leave(visit)
    services.forgetter.look()
    assert services.memory._kept == {}
    assert api.get(f"/v1/erasures/{erased['id']}").json()["state"] == "complete"


def test_a_step_that_a_worker_is_at_is_waited_for_and_what_it_publishes_too_late_is_swept(
    api: TestClient, services: Services, database: Database
) -> None:
    learned(api)
    step = claimed_step(database)
    erased = api.delete("/v1/users/ann").json()
    assert {"name": f"step_{step.id}", "where": "worker:1", "state": "waiting", "at": None} in erased["holders"]
    late = services.settings.data_dir / "store" / layout.user_folder("default", "ann") / f"v_{'0' * 32}"
    late.mkdir(parents=True)
    (late / "adapter_model.safetensors").write_bytes(b"weights")
    with database.write() as session:
        assert erasures.confirm(session, erasures.step_name(step.id), HolderState.forgot) == 1
    services.forgetter.look()
    assert api.get(f"/v1/erasures/{erased['id']}").json()["state"] == "complete"
    assert not late.exists()


def test_a_process_that_ends_is_not_waited_for(api: TestClient, services: Services, database: Database) -> None:
    learned(api)
    other = Forgetter(database, services.store, services.runtime, services.memory, services.presence)
    other.enter()
    erased = api.delete("/v1/users/ann").json()
    other.leave()
    services.forgetter.look()
    done = api.get(f"/v1/erasures/{erased['id']}").json()
    assert done["state"] == "complete"
    assert sorted(holder["state"] for holder in done["holders"]) == ["ended", "forgot"]


def test_erasing_a_history_leaves_the_user_and_says_so(api: TestClient) -> None:
    learned(api, profile="Keeps bees.")
    erased = api.delete("/v1/users/ann/history").json()
    assert (erased["kind"], erased["state"]) == ("history", "complete")
    assert (erased["removed"]["samples"], erased["removed"]["jobs_cancelled"]) == (30, 1)
    assert api.get("/v1/users/ann").json()["samples"] == 0
    assert api.get("/v1/users/ann").json()["profile"] == "Keeps bees."


def test_a_deletion_that_cannot_be_confirmed_yet_is_told_as_begun_and_completed_later(
    api: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned(api)

    def away(_: Forgetter) -> None:
        raise DatabaseAwayError("the database is away")

    with monkeypatch.context() as now_away:
        now_away.setattr(Forgetter, "look", away)
        answer = api.delete("/v1/users/ann")
    assert (answer.status_code, answer.json()["state"]) == (200, "erasing")
    assert api.get("/v1/users/ann").status_code == 404
    services.forgetter.look()
    assert api.get(f"/v1/erasures/{answer.json()['id']}").json()["state"] == "complete"
