"""How each route of the OpenAPI document is sent, for tests that walk over all of them; and what to send it about.

A route that is missing here fails those tests: whoever adds one says here what a stranger may see of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx

from app.database import Database
from app.repositories import deliveries, history, jobs, users, versions
from app.webhook_tables import Webhook
from app.webhooks.signing import new_secret
from tests.support.api import pairs
from tests.support.keys import make_key
from tests.support.records import add_job, add_user, complete_erasure, samples, version

OPEN = {"GET /livez", "GET /readyz", "GET /metrics"}
"""Without a key, for an orchestrator: nothing there is about any user or tenant."""


@dataclass(frozen=True)
class Call:
    """One request of a route.

    Args:
        stranger: the status for a key of a tenant that has none of the things named.
        before: the operation that makes it possible, on the same things.
        file: a body that is a file; then `query` says what it is.
    """

    json: Any = None
    stranger: int = 404
    before: str = ""
    file: str = ""
    query: str = ""


NOWHERE = "http://127.0.0.1:9/hook"
"""Nothing listens there."""
_ASKED = {"query": "How are you?", "max_new_tokens": 2}
_CHAT = {"model": "milp:{user_id}", "messages": [{"role": "user", "content": "How are you?"}], "max_tokens": 2}
CALLS = {
    "GET /v1/users": Call(stranger=200),
    "GET /v1/users/{user_id}": Call(),
    "DELETE /v1/users/{user_id}": Call(),
    "GET /v1/users/{user_id}/history": Call(),
    # A user of that name that is the stranger's own: the owner's is another.
    "POST /v1/users/{user_id}/history": Call({"samples": pairs(30, first=100)}, stranger=202),
    "POST /v1/imports": Call(
        file="user_id,query,response\n{user_id},Is it new?,It is.", query="format=csv&personalize=false", stranger=202
    ),
    "DELETE /v1/users/{user_id}/history": Call(),
    "DELETE /v1/users/{user_id}/history/{sample_id}": Call(),
    "POST /v1/users/{user_id}/personalizations": Call({}),
    "GET /v1/erasures": Call(stranger=200),
    # The same for every tenant.
    "GET /v1/erasures/keys": Call(stranger=200),
    "GET /v1/erasures/{erasure_id}": Call(),
    "GET /v1/jobs": Call(stranger=200),
    "GET /v1/jobs/{job_id}": Call(),
    "GET /v1/jobs/{job_id}/trials": Call(),
    # The stream of a job that has not ended does not end.
    "GET /v1/jobs/{job_id}/events": Call(before="POST /v1/jobs/{job_id}/cancel"),
    "POST /v1/jobs/{job_id}/cancel": Call(),
    "POST /v1/jobs/{job_id}/pause": Call(),
    "POST /v1/jobs/{job_id}/resume": Call(before="POST /v1/jobs/{job_id}/pause"),
    "GET /v1/users/{user_id}/versions": Call(),
    "POST /v1/users/{user_id}/versions/{version_id}/activate": Call(),
    "POST /v1/users/{user_id}/versions/deactivate": Call(),
    "GET /v1/users/{user_id}/versions/{version_id}/export": Call(),
    "GET /v1/users/{user_id}/versions/{version_id}/samples": Call(),
    "POST /v1/users/{user_id}/responses": Call(_ASKED),
    "POST /v1/chat/completions": Call(_CHAT),
    "GET /v1/models": Call(stranger=200),
    "GET /v1/keys": Call(stranger=200),
    "POST /v1/keys": Call({"name": "another", "scopes": ["read"]}, stranger=201),
    "POST /v1/keys/{key_id}/rotate": Call({"grace_seconds": 0}),
    "POST /v1/keys/{key_id}/revoke": Call(),
    "GET /v1/webhooks": Call(stranger=200),
    "POST /v1/webhooks": Call({"url": NOWHERE}, stranger=201),
    "GET /v1/webhooks/{webhook_id}": Call(),
    "PATCH /v1/webhooks/{webhook_id}": Call({"events": ["job.failed"]}),
    "DELETE /v1/webhooks/{webhook_id}": Call(),
    "POST /v1/webhooks/{webhook_id}/rotate": Call({"grace_seconds": 60}),
    "POST /v1/webhooks/{webhook_id}/test": Call(),
    "GET /v1/webhooks/{webhook_id}/deliveries": Call(),
    "POST /v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver": Call(),
    "GET /v1/audit": Call(stranger=200),
}

_numbers = count(1)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(`POST /v1/path`, its description) of each in the document."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def scope_of(operation: dict[str, Any]) -> str:
    """The one scope that the document says a key needs for it."""
    (requirement,) = operation["security"]
    ((scheme, (scope,)),) = requirement.items()
    assert scheme == "ApiKey"
    return str(scope)


@dataclass(frozen=True)
class Things:
    """One of each kind of thing that a route names, of one tenant."""

    ids: dict[str, str]

    @classmethod
    def of(cls, database: Database, tenant: str) -> Things:
        """New ones: a user with a history, a queued job and a version, a webhook that heard of a job of theirs, and a
        key that may do nothing but read."""
        user_id = f"{tenant}-{next(_numbers)}"
        with database.write() as session:
            add_user(session, tenant, user_id, samples(30))
            sample = history.samples_in_order(session, tenant, user_id)[0]
            erasure = complete_erasure(session, tenant, f"{user_id}-before")
            heard = {"events": ["job.cancelled"], "secret": new_secret(), "created_by": "operator"}
            webhook = Webhook(tenant_id=tenant, url=NOWHERE, **heard)
            session.add(webhook)
            session.flush()
            jobs.cancel_job(session, add_job(session, tenant, user_id))
            (delivery,) = deliveries.page_deliveries(session, tenant, webhook.id, None, None, 9).items
            job = add_job(session, tenant, user_id)
            kept = versions.add_version(session, version(next(_numbers), tenant=tenant, user_id=user_id, job=job))
            versions.activate(session, users.get_user(session, tenant, user_id), kept.id)
        key = make_key(database, tenant, ("read",)).key
        return cls(
            {
                "user_id": user_id,
                "sample_id": str(sample.id),
                "erasure_id": erasure.id,
                "job_id": job.id,
                "version_id": kept.id,
                "key_id": key.id,
                "webhook_id": webhook.id,
                "delivery_id": delivery.id,
            }
        )

    def send(self, http: httpx.Client, name: str, headers: dict[str, str]) -> httpx.Response:
        """The operation of this name, about these things."""
        (method, path), call = name.split(), CALLS[name]
        if call.file:
            headers = headers | {"Content-Type": "application/octet-stream"}
            return http.request(method, f"{path}?{call.query}", content=call.file.format(**self.ids), headers=headers)
        return http.request(method, path.format(**self.ids), json=self._filled(call.json), headers=headers)

    def prepare(self, http: httpx.Client, name: str, headers: dict[str, str]) -> None:
        """Do what makes the operation possible."""
        if before := CALLS[name].before:
            self.send(http, before, headers).raise_for_status()

    def _filled(self, body: Any) -> Any:
        if isinstance(body, dict) and "model" in body:
            return body | {"model": body["model"].format(**self.ids)}
        return body
