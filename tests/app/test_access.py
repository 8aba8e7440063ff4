"""Who may do what, on every route of the OpenAPI document: nobody without a key, nobody with another tenant's or a
lesser one. And whoever does write is in the audit log, once.

A route that these walks do not know makes them fail: see tests/support/routes.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from sqlmodel import SQLModel
from starlette.testclient import TestClient

from adapters_store import layout
from app.access import managing
from app.access.audit import Deed
from app.access.key_text import SCOPES
from app.database import Database
from app.main import create_app
from app.repositories import audit
from app.settings import Settings
from app.tables import AuditEntry, now
from tests.support.api import wait_until_ready
from tests.support.keys import bearer, make_key
from tests.support.routes import CALLS, OPEN, Things, operations, scope_of

DEED = Deed("owner", "operator", "tests")


@pytest.fixture(autouse=True)
def nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No webhook's sender changes rows while a walk looks at them."""
    monkeypatch.setattr("app.webhooks.sender.EVERY_SECONDS", 3600.0)


@pytest.fixture
def document(settings: Settings) -> dict[str, Any]:
    return create_app(settings).openapi()


@pytest.fixture
def closed(api_settings: Settings, database: Database) -> Iterator[TestClient]:
    """The API without a base model, its client without a key; keys are those of the database alone."""
    app = create_app(api_settings.model_copy(update={"api_keys": {}}))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def answering_api(settings: Settings, database_url: str) -> Iterator[TestClient]:
    """The same with the small base."""
    changed = {"api_keys": {}, "database_url": database_url, "dtype": "float32", "torch_threads": 1}
    with TestClient(create_app(settings.model_copy(update=changed)), raise_server_exceptions=False) as client:
        wait_until_ready(client)
        yield client


OF_NO_TENANT = {"processes", "erasure_holders", "signing_keys"}
"""Tables of the service itself. A holder is part of an erasure, which has its tenant."""


def rows_of(database: Database, tenant: str) -> dict[str, list[Any]]:
    """Everything the tenant has, but for when its keys were used."""
    found = {}
    with database.read() as session:
        for name, table in SQLModel.metadata.tables.items():
            if name in OF_NO_TENANT:
                continue
            columns = [column for column in table.c if column.name != "last_used_at"]
            statement = select(*columns).where(table.c.tenant_id == tenant).order_by(*table.primary_key)
            found[name] = [tuple(row) for row in session.connection().execute(statement)]
    return found


def entries_of(database: Database, tenant: str) -> list[AuditEntry]:
    with database.read() as session:
        return audit.page_entries(session, tenant, None, 200).items


def writes(document: dict[str, Any]) -> set[str]:
    """The operations that change something that is kept. Answering is none."""
    return {
        name
        for name, operation in operations(document)
        if name not in OPEN and not name.startswith("GET ") and scope_of(operation) in ("write", "admin")
    }


def test_every_route_is_either_open_or_known_to_the_walks(document: dict[str, Any]) -> None:
    assert {name for name, _ in operations(document)} == OPEN | set(CALLS)


def test_every_route_declares_one_scope_and_documents_its_refusals(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        if name in OPEN:
            assert "security" not in operation, name
        else:
            assert scope_of(operation) in SCOPES, name
            assert {"401", "403", "429"} <= set(operation["responses"]), name
            # Whoever may only look cannot change, and whoever may only ask cannot look.
            assert (scope_of(operation) == "read") <= name.startswith("GET "), name
    (scheme,) = document["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert all(scope in scheme["description"] for scope in SCOPES)


def test_without_a_key_in_force_no_route_does_anything(
    closed: TestClient, database: Database, document: dict[str, Any]
) -> None:
    things = Things.of(database, "owner")
    revoked, rotated = make_key(database, "owner"), make_key(database, "owner")
    managing.revoke(database, DEED, revoked.key.id)
    managing.rotate(database, DEED, rotated.key.id, timedelta(0))
    expired = make_key(database, "owner", expires_at=now() + timedelta(hours=1))
    with database.write() as session:
        session.add(expired.key)
        expired.key.expires_at = now() - timedelta(seconds=1)
    wrong_secret = f"{rotated.text[:-64]}{'0' * 64}"
    headers: list[dict[Any, Any]] = [
        {},
        *(bearer(key) for key in (revoked.text, rotated.text, expired.text, wrong_secret, "nope", "")),
        *({"Authorization": value} for value in ("Bearer", rotated.text, f"Basic {rotated.text}")),
        {"Authorization": "bearer schlüssel".encode()},
    ]
    before = rows_of(database, "owner")
    for name, _ in operations(document):
        if name not in OPEN:
            for header in headers:
                answer = things.send(closed, name, header)
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), (name, header)
                assert answer.headers["www-authenticate"] == "Bearer"
    assert rows_of(database, "owner") == before


def test_the_key_comes_before_the_path_and_the_body(closed: TestClient) -> None:
    for method, path, body in (
        ("POST", "/v1/users/u/responses", b"{not json"),
        ("GET", "/v1/users/..no-user-id", None),
        ("PUT", "/v1/users", None),
        ("GET", "/v1/no-such-route", None),
        ("GET", "/v1/users?limit=0", None),
    ):
        assert closed.request(method, path, content=body).status_code == 401, path
    assert closed.get("/no-such-route").status_code == 404
    # Whoever reads of a body that long gets 413.
    too_long = {"Content-Length": str(2**40)}
    assert closed.post("/v1/users/u/responses", content=b"x", headers=too_long).status_code == 401


def test_behind_a_proxys_prefix_the_same_holds(closed: TestClient, database: Database) -> None:
    with TestClient(closed.app, root_path="/milp", raise_server_exceptions=False) as prefixed:
        assert prefixed.get("/milp/v1/users").status_code == 401
        assert prefixed.get("/milp/v1/users", headers=bearer(make_key(database).text)).status_code == 200
        assert prefixed.get("/milp/livez").status_code == 200


def test_a_key_of_another_tenant_finds_nothing_and_changes_nothing(
    answering_api: TestClient, database: Database, document: dict[str, Any]
) -> None:
    things = Things.of(database, "owner")
    before = rows_of(database, "owner")
    for number, (name, _) in enumerate(operations(document)):
        if name in OPEN:
            continue
        # Another one each time: what a stranger may make of their own is not there for the next route to find.
        stranger = bearer(make_key(database, f"stranger-{number}").text)
        answer = things.send(answering_api, name, stranger)
        assert answer.status_code == CALLS[name].stranger, (name, answer.text)
        if answer.status_code == httpx.codes.NOT_FOUND:
            assert answer.json()["code"] != "not_found", name  # the thing, not the route
        elif name.startswith("GET "):
            # A sample's id is a number, which may stand anywhere.
            assert not any(thing in answer.text for thing in things.ids.values() if not thing.isdigit()), name
    assert rows_of(database, "owner") == before


def test_a_key_without_the_scope_is_refused_and_one_with_it_alone_is_not(
    closed: TestClient, database: Database, document: dict[str, Any]
) -> None:
    lesser = {
        scope: bearer(make_key(database, "owner", tuple(s for s in SCOPES if s != scope)).text) for scope in SCOPES
    }
    only = {scope: bearer(make_key(database, "owner", (scope,)).text) for scope in SCOPES}
    for name, operation in operations(document):
        if name in OPEN:
            continue
        scope, things = scope_of(operation), Things.of(database, "owner")
        things.prepare(closed, name, only["write"])
        before = rows_of(database, "owner")
        answer = things.send(closed, name, lesser[scope])
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), name
        assert f"'{scope}'" in answer.json()["detail"]
        after = rows_of(database, "owner")
        noted = after.pop("audit_entries")[len(before.pop("audit_entries")) :]
        assert after == before, name
        assert len(noted) == (name in writes(document)), name
        assert things.send(closed, name, only[scope]).status_code not in (401, 403), name


NAMED_BY_THEIR_BODY = {"POST /v1/keys", "POST /v1/imports", "POST /v1/webhooks"}
"""Writes to things whose ids are not in the path."""


def test_every_write_leaves_one_entry_in_the_audit_log_and_nothing_else_does(
    closed: TestClient, database: Database, document: dict[str, Any]
) -> None:
    key = make_key(database, "owner")
    for name, _ in operations(document):
        if name in OPEN:
            continue
        things = Things.of(database, "owner")
        things.prepare(closed, name, bearer(key.text))
        known = {entry.id for entry in entries_of(database, "owner")}
        answer = things.send(closed, name, bearer(key.text) | {"X-Request-Id": "request-1"})
        new = [entry for entry in entries_of(database, "owner") if entry.id not in known]
        if name not in writes(document):
            assert new == [], name
            continue
        assert answer.is_success, (name, answer.text)
        (entry,) = new
        assert (entry.action, entry.outcome) == (name, "done")
        assert (entry.key_id, entry.request_id) == (key.key.id, "request-1")
        assert entry.target
        named = [part.strip("{}") for part in name.split("/") if part.startswith("{")]
        if name == "DELETE /v1/users/{user_id}":
            # Whom it was done to is forgotten here too.
            assert entry.target == layout.user_digest("owner", things.ids["user_id"])
        else:
            assert entry.target == "/".join(things.ids[part] for part in named) or name in NAMED_BY_THEIR_BODY


def test_a_write_that_is_refused_is_noted_with_the_reason(closed: TestClient, database: Database) -> None:
    key = make_key(database, "owner")
    assert closed.delete("/v1/users/nobody", headers=bearer(key.text)).status_code == 404
    entry = entries_of(database, "owner")[0]
    assert (entry.action, entry.target) == ("DELETE /v1/users/{user_id}", "nobody")
    assert (entry.outcome, entry.key_id) == ("user_not_found", key.key.id)
