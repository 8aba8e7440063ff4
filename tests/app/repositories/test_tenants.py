"""Tenants: no function of any repository shows or touches a row of another tenant."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import Session, select

import app.repositories
from app.database import Database
from app.errors import (
    DeliveryNotFoundError,
    ErasureNotFoundError,
    JobNotFoundError,
    KeyNotFoundError,
    SampleNotFoundError,
    UserNotFoundError,
    VersionNotFoundError,
    WebhookNotFoundError,
)
from app.job_states import TrialState
from app.repositories import (
    answering,
    api_keys,
    audit,
    deliveries,
    erasure,
    erasures,
    events,
    history,
    idempotency,
    jobs,
    overview,
    trials,
    users,
    versions,
    webhooks,
)
from app.tables import ApiKey, Job
from app.webhook_tables import Webhook
from tests.support.records import add_job, add_trials, add_user, complete_erasure, options, samples, version

OF_NO_TENANT = {
    "api_keys.find_key": "comes before a tenant is known, and tells it",
    "api_keys.mark_used": "of a key that was let in",
    "api_keys.tenants": "for the operator, who is above them",
    "audit.forget_older": "age alone decides",
    "clock.at_writing": "looks at no row",
    "clock.database_now": "looks at no row",
    "erasures.confirm": "for API processes and workers, which are of no tenant",
    "erasures.held_by_nobody": "for API processes, which complete those of all tenants",
    "erasures.let_lapse": "time alone decides",
    "erasures.unfinished": "for API processes, which complete those of all tenants",
    "erasures.waiting_for": "for API processes",
    "deliveries.claim": "for the sender; gives a claim that names its tenant",
    "deliveries.due_webhooks": "for the sender, which works for all tenants",
    "deliveries.forget_older": "age alone decides",
    "overview.jobs_by_status": "figures of the whole service",
    "overview.steps_waiting": "figures of the whole service",
    "processes.register": "API processes are of no tenant",
    "processes.remove": "API processes are of no tenant",
    "processes.remove_silent": "API processes are of no tenant",
    "processes.renew": "API processes are of no tenant",
    "processes.running": "API processes are of no tenant",
    "signing_keys.add": "the service signs, not a tenant",
    "signing_keys.all_keys": "public keys are for everybody",
    "signing_keys.newest": "the service signs, not a tenant",
    "leftovers.unsettled_steps": "for workers",
    "steps.any_ahead": "for workers",
    "steps.any_expired": "for workers, which work for all tenants",
    "steps.catch_up": "for workers",
    "steps.claim": "for workers; gives a claim that names its tenant",
    "waiting.due": "for workers",
    "steps.owners_at_work": "for workers",
    "steps.release_expired": "for workers",
    "waiting.plan_to_make": "for workers",
    "waiting.training_to_make": "for workers",
    "tallies.of_all_tenants": "figures of the whole service",
    "versions.all_paths": "for backups, which are of all tenants",
}
"""Functions that ask the database without naming a tenant, each with its reason."""
_ROWS = ("User", "Job", "Step", "Version", "Claim", "Erasure", "SampleRow", "Webhook")
"""What carries its tenant with it."""


def names_a_tenant(function: Callable[..., Any]) -> bool:
    parameters = inspect.signature(function).parameters
    return "tenant" in parameters or any(p.annotation in _ROWS for p in parameters.values())


def test_every_query_names_its_tenant_or_has_a_reason_not_to() -> None:
    found = {}
    for module in pkgutil.iter_modules(app.repositories.__path__):
        loaded = importlib.import_module(f"app.repositories.{module.name}")
        for name, function in inspect.getmembers(loaded, inspect.isfunction):
            asks = "session" in inspect.signature(function).parameters
            if function.__module__ == loaded.__name__ and not name.startswith("_") and asks:
                found[f"{module.name}.{name}"] = names_a_tenant(function)
    assert len(found) > 50
    found.pop("paging.page")  # of a statement that was made by one of the others
    assert {name for name, named in found.items() if not named} == set(OF_NO_TENANT)


def _a_webhook(session: Session, tenant: str) -> Webhook:
    webhook = Webhook(tenant_id=tenant, url="u", events=["job.cancelled"], secret="s", created_by="operator")
    session.add(webhook)
    session.flush()
    return webhook


def fill(session: Session, tenant: str) -> Job:
    """Everything a tenant can have, under names that another tenant uses too."""
    add_user(session, tenant, "u", samples(3))
    job = add_job(session, tenant, "u")
    add_trials(session, job, 2)
    kept = versions.add_version(session, version(tenant=tenant, job=job))
    versions.activate(session, users.get_user(session, tenant, "u"), kept.id)
    idempotency.remember(session, tenant, "key", tenant, 202, {})
    api_keys.ensure_tenant(session, tenant)
    key = ApiKey(tenant_id=tenant, name="k", scopes=["read"], secret_digest="0" * 64, created_by="operator")
    session.add(key)
    _a_webhook(session, tenant)
    jobs.cancel_job(session, add_job(session, tenant, "u"))
    audit.append(session, tenant, key_id=key.id, action="a", target="u", outcome="done", request_id="")
    return job


def seen(session: Session, tenant: str, job: Job) -> dict[str, list[str]]:
    """The tenants of all rows that each looking function gives `tenant`, asked for the things of `job`'s owner."""
    ids = [row.id for row in history.samples_in_order(session, job.tenant_id, "u") if row.id is not None]
    queued = jobs.queued_job(session, tenant, "u")
    key = idempotency.find(session, tenant, "key")
    (webhook,) = session.exec(select(Webhook).where(Webhook.tenant_id == job.tenant_id))
    found = {
        "page_users": users.page_users(session, tenant, None, 10).items,
        "samples_in_order": history.samples_in_order(session, tenant, "u"),
        "samples_by_ids": history.samples_by_ids(session, tenant, ids),
        "page_samples": history.page_samples(session, tenant, "u", None, 10).items,
        "queued_job": [queued.job] if queued else [],
        "page_jobs": jobs.page_jobs(session, tenant, limit=10).items,
        "page_jobs_of_user": jobs.page_jobs(session, tenant, user_id="u", limit=10).items,
        "trials_of": trials.trials_of(session, tenant, job.id),
        "page_trials": overview.page_trials(session, tenant, job.id, None, 10).items,
        "users_with_active_version": overview.users_with_active_version(session, tenant, 10),
        "events_after": events.events_after(session, tenant, job.id, 0, 10),
        "page_versions": versions.page_versions(session, tenant, "u", None, 10).items,
        "idempotency": [key] if key else [],
        "page_keys": api_keys.page_keys(session, tenant, None, 10).items,
        "page_webhooks": webhooks.page_webhooks(session, tenant, None, 10).items,
        "page_deliveries": deliveries.page_deliveries(session, tenant, webhook.id, None, None, 10).items,
        "page_entries": audit.page_entries(session, tenant, None, 10).items,
    }
    return {name: [row.tenant_id for row in rows] for name, rows in found.items()}  # type: ignore[attr-defined]


def test_a_tenant_without_anything_sees_nothing_of_another(database: Database) -> None:
    with database.write() as session:
        job = fill(session, "owner")
        assert all(rows and set(rows) == {"owner"} for rows in seen(session, "owner", job).values())
        assert [name for name, rows in seen(session, "stranger", job).items() if rows] == []
        assert history.count_samples(session, "stranger", "u") == 0
        trials.trials_of(session, "owner", job.id)[0].state = TrialState.succeeded
        assert overview.progress(session, "owner", [job.id]) == {job.id: overview.Progress(1)}
        assert overview.progress(session, "stranger", [job.id]) == {}


def test_tenants_with_the_same_names_see_each_their_own(database: Database) -> None:
    with database.write() as session:
        job, _ = fill(session, "owner"), fill(session, "stranger")
        for name, rows in seen(session, "stranger", job).items():
            assert set(rows) <= {"stranger"}, name
        assert history.count_samples(session, "stranger", "u") == 3
        versions.activate(session, users.get_user(session, "stranger", "u"), None)
        assert answering.known(session, "owner", "u").active is not None
        assert answering.known(session, "stranger", "u") == answering.Known("stranger", "u", "", None)


def test_what_another_tenant_has_is_not_found_by_name(database: Database) -> None:
    with database.write() as session:
        job = fill(session, "owner")
        with pytest.raises(UserNotFoundError):
            users.get_user(session, "stranger", "u")
        with pytest.raises(UserNotFoundError):
            answering.known(session, "stranger", "u")
        with pytest.raises(UserNotFoundError):
            erasure.erase_history(session, "stranger", "u")
        with pytest.raises(UserNotFoundError):
            users.lock_user(session, "stranger", "u")
        with pytest.raises(JobNotFoundError):
            jobs.get_job(session, "stranger", job.id)
        (webhook,) = webhooks.page_webhooks(session, "owner", None, 10).items
        for look in (webhooks.get_webhook, webhooks.lock_webhook):
            with pytest.raises(WebhookNotFoundError):
                look(session, "stranger", webhook.id)
        (delivery,) = deliveries.page_deliveries(session, "owner", webhook.id, None, None, 10).items
        with pytest.raises(DeliveryNotFoundError):
            deliveries.send_again(session, _a_webhook(session, "stranger"), delivery.id)
        (key,) = api_keys.page_keys(session, "owner", None, 10).items
        with pytest.raises(KeyNotFoundError):
            api_keys.get_key(session, "stranger", key.id)
        with pytest.raises(VersionNotFoundError):
            versions.get_version(session, "stranger", "u", version().id)
        (sample, *_) = history.samples_in_order(session, "owner", "u")
        with pytest.raises(SampleNotFoundError):
            history.get_sample(session, "stranger", "u", sample.id or 0)
        erasure_id = complete_erasure(session, "owner", "u").id
        with pytest.raises(ErasureNotFoundError):
            erasures.get_erasure(session, "stranger", erasure_id)
        with pytest.raises(UserNotFoundError):
            erasure.erase_user(session, "stranger", "u", "somebody")
        with pytest.raises(UserNotFoundError):
            jobs.create_job(session, "stranger", "u", options())
        with pytest.raises(UserNotFoundError):
            history.add_samples(session, "stranger", "u", samples(1), limit=10)
        add_user(session, "stranger", "u")
        with pytest.raises(VersionNotFoundError):
            versions.activate(session, users.get_user(session, "stranger", "u"), version().id)


def test_what_a_tenant_does_leaves_another_as_it_was(database: Database) -> None:
    with database.write() as session:
        job = fill(session, "owner")
        stranger = fill(session, "stranger")
        before = seen(session, "owner", job)
        assert history.add_samples(session, "stranger", "u", samples(3), limit=10).added == 0
        assert history.delete_history(session, "stranger", "u") == 3
        users.ensure_user(session, "stranger", "u", "another profile")
        jobs.cancel_job(session, stranger)
        (webhook,) = webhooks.page_webhooks(session, "stranger", None, 10).items
        webhooks.disable(session, webhook, "request")
        webhooks.delete_webhook(session, webhook)
        versions.activate(session, users.get_user(session, "stranger", "u"), None)
        assert erasure.erase_history(session, "stranger", "u").versions == [version().id]
        users.delete_user(session, "stranger", "u")
    with database.write() as session:
        assert users.get_user(session, "owner", "u").profile == ""
        assert seen(session, "owner", jobs.get_job(session, "owner", job.id)) == before
