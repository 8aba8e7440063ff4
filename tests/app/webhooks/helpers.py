"""Makers for the webhooks' tests: a webhook, jobs that end, one round of a sender, and what became of a delivery."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import anyio
from sqlalchemy import update
from sqlmodel import col, select

from app.access.audit import OPERATOR, Deed
from app.database import Database
from app.job_states import JobStatus
from app.metrics import Metrics
from app.repositories import jobs, webhooks
from app.tables import Job, now
from app.webhook_tables import Webhook, WebhookDelivery
from app.webhooks import managing
from app.webhooks.events import JOB_EVENTS, JobEvent
from app.webhooks.sender import Sender
from tests.support.receiver import Receiver
from tests.support.records import add_job

TENANT = "t"
DEED = Deed(TENANT, OPERATOR, "tests")


def add_webhook(
    database: Database, to: Receiver | str, events: Sequence[JobEvent] = JOB_EVENTS, tenant: str = TENANT
) -> Webhook:
    url = to if isinstance(to, str) else to.url
    return managing.create(database, Deed(tenant, OPERATOR, "tests"), url, events, private=True)


def end_job(
    database: Database, status: JobStatus = JobStatus.cancelled, user_id: str = "u", tenant: str = TENANT
) -> Job:
    """A job of the user that has ended."""
    with database.write() as session:
        job = add_job(session, tenant, user_id)
        if status == JobStatus.succeeded:
            jobs.set_status(session, job, JobStatus.publishing)
        jobs.set_status(session, job, status)
    return job


def sender(database: Database, *, private: bool = True) -> Sender:
    return Sender(database, Metrics(), private=private)


def send(*senders: Sender) -> None:
    """Each of the senders sends, all at once, whatever is due now."""

    async def round() -> None:
        async with anyio.create_task_group() as group:
            for one in senders:
                await one.begin(group)

    anyio.run(round)


def deliveries_of(database: Database, tenant: str = TENANT) -> list[WebhookDelivery]:
    """All of the tenant, oldest first."""
    with database.read() as session:
        statement = select(WebhookDelivery).where(WebhookDelivery.tenant_id == tenant)
        return list(session.exec(statement.order_by(col(WebhookDelivery.created_at))))


def only_delivery(database: Database) -> WebhookDelivery:
    (delivery,) = deliveries_of(database)
    return delivery


def webhook_now(database: Database, webhook: Webhook) -> Webhook:
    with database.read() as session:
        return webhooks.get_webhook(session, webhook.tenant_id, webhook.id)


def let_pass(database: Database, seconds: float = 0.0) -> None:
    """Put the due times of all deliveries so many seconds earlier; by default, to now."""
    with database.write() as session:
        earlier = now() - timedelta(milliseconds=1)
        if seconds:
            for delivery in session.exec(select(WebhookDelivery)):
                if delivery.next_attempt_at is not None:
                    delivery.next_attempt_at -= timedelta(seconds=seconds)
        else:
            session.exec(
                update(WebhookDelivery)
                .where(col(WebhookDelivery.next_attempt_at).is_not(None))
                .values(next_attempt_at=earlier)
            )
