"""Deliveries of webhooks: written with what they tell of, claimed by one sender at a time, ended by that one alone.

A sender holds a delivery by a lease; `attempts` is the fencing token. Whoever changes a webhook and its deliveries in
one transaction locks the webhook first. Knows the database only: nothing of how a delivery is sent.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, func, update
from sqlmodel import Session, col, select

from app.errors import ConflictError, DeliveryNotFoundError
from app.repositories import webhooks
from app.repositories.clock import database_now
from app.repositories.paging import Page, page
from app.tables import Job
from app.webhook_tables import Webhook, WebhookDelivery
from app.webhooks.events import OPEN, TEST_EVENT, DeliveryState, event_of, payload


@dataclass(frozen=True, slots=True)
class Claim:
    """One sender's hold on one delivery, with all that is needed to send it.

    Args:
        number: the delivery's `attempts`. Only the claim with the present one may end it.
        tried: attempts since it was made or last asked for again, this one too.
        secrets: that of the webhook and, for as long as it still signs, the one before.
    """

    tenant: str
    webhook_id: str
    delivery_id: str
    number: int
    tried: int
    url: str
    secrets: tuple[str, ...]
    payload: dict[str, Any]


def announce(session: Session, job: Job, moment: datetime) -> None:
    """Write down that the job has ended for each webhook that is to hear of it, in the transaction that ends it."""
    event = event_of(job.status)
    # Held by their keys: a webhook that is deleted meanwhile must not fail the job.
    statement = (
        select(Webhook)
        .where(Webhook.tenant_id == job.tenant_id, col(Webhook.disabled_at).is_(None))
        .with_for_update(read=True, key_share=True)
    )
    for webhook in session.exec(statement):
        if event in webhook.events:
            _add(session, webhook, event, moment, job)
    session.flush()


def add_test(session: Session, webhook: Webhook) -> WebhookDelivery:
    """A delivery that tells of nothing, due at once."""
    delivery = _add(session, webhook, TEST_EVENT, database_now(session))
    session.flush()
    return delivery


def page_deliveries(
    session: Session, tenant: str, webhook_id: str, state: DeliveryState | None, cursor: str | None, limit: int
) -> Page[WebhookDelivery]:
    """The webhook's deliveries, newest first; those in one state where asked. Raises: InvalidCursorError."""
    statement = select(WebhookDelivery).where(
        WebhookDelivery.tenant_id == tenant, WebhookDelivery.webhook_id == webhook_id
    )
    if state is not None:
        statement = statement.where(WebhookDelivery.state == state)
    return page(
        session,
        statement,
        [WebhookDelivery.created_at, WebhookDelivery.id],
        lambda delivery: [delivery.created_at, delivery.id],
        [datetime, str],
        cursor=cursor,
        limit=limit,
        newest_first=True,
    )


def of_user(session: Session, tenant: str, user_id: str) -> int:
    """How many there are that tell of the user's jobs."""
    statement = select(func.count(col(WebhookDelivery.id))).where(
        WebhookDelivery.tenant_id == tenant, WebhookDelivery.user_id == user_id
    )
    return session.exec(statement).one()


def send_again(session: Session, webhook: Webhook, delivery_id: str) -> WebhookDelivery:
    """Make the delivery due now, whatever became of it, with all its attempts before it. `webhook` is to be locked.

    Raises:
        DeliveryNotFoundError: the webhook has none of that id.
        ConflictError: it is being sent.
    """
    statement = select(WebhookDelivery).where(
        WebhookDelivery.tenant_id == webhook.tenant_id,
        WebhookDelivery.webhook_id == webhook.id,
        WebhookDelivery.id == delivery_id,
    )
    delivery = session.exec(statement.with_for_update()).one_or_none()
    if delivery is None:
        raise DeliveryNotFoundError(
            f"There is no delivery '{delivery_id}'. GET /v1/webhooks/{webhook.id}/deliveries lists them; each is kept "
            "for a time, and none of a user who was deleted."
        )
    if delivery.state == DeliveryState.sending:
        raise ConflictError(f"Delivery '{delivery_id}' is being sent just now. See in a moment how it went.")
    delivery.state, delivery.next_attempt_at, delivery.ended_at = DeliveryState.waiting, database_now(session), None
    delivery.attempts_before = delivery.attempts
    session.flush()
    return delivery


def due_webhooks(session: Session, but: Collection[str], limit: int) -> list[str]:
    """Webhooks something is due for, longest due first, but for those in `but`."""
    first = func.min(col(WebhookDelivery.next_attempt_at))
    statement = (
        select(WebhookDelivery.webhook_id)
        .where(*_is_due(database_now(session)), col(WebhookDelivery.webhook_id).not_in(list(but)))
        .group_by(col(WebhookDelivery.webhook_id))
        .order_by(first)
        .limit(limit)
    )
    return list(session.exec(statement))


def claim(session: Session, webhook_id: str, lease: timedelta) -> Claim | None:
    """Take the webhook's delivery that is due longest; None where none is, or others have them all.

    A delivery whose sender fell silent is due again when its lease is over.
    """
    webhook = session.get(Webhook, webhook_id)
    if webhook is not None and webhook.disabled_at is not None:
        # Written, or to be tried again, while it was being disabled.
        webhooks.give_up_waiting(session, webhook)
        return None
    moment = database_now(session)
    statement = (
        select(WebhookDelivery)
        .where(WebhookDelivery.webhook_id == webhook_id, *_is_due(moment))
        .order_by(col(WebhookDelivery.next_attempt_at), col(WebhookDelivery.id))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    delivery = session.exec(statement).one_or_none()
    if webhook is None or delivery is None:
        return None
    delivery.state, delivery.next_attempt_at = DeliveryState.sending, moment + lease
    delivery.attempts += 1
    session.flush()
    before = webhook.previous_until is not None and webhook.previous_until > moment
    return Claim(
        tenant=webhook.tenant_id,
        webhook_id=webhook.id,
        delivery_id=delivery.id,
        number=delivery.attempts,
        tried=delivery.attempts - delivery.attempts_before,
        url=webhook.url,
        secrets=(webhook.secret, *([webhook.previous_secret] if webhook.previous_secret and before else [])),
        payload=payload(delivery.event, delivery.created_at, webhook.id, delivery.job_id, delivery.user_id),
    )


def end(
    session: Session,
    held: Claim,
    state: DeliveryState,
    *,
    status: int | None,
    error: str | None,
    pause: timedelta | None = None,
) -> bool:
    """Note how the attempt went; with `pause`, the next is due after it.

    Returns:
        False where it is no longer this sender's: the lease ran out, or it was deleted with its user or webhook.
    """
    moment = database_now(session)
    statement = (
        update(WebhookDelivery)
        .where(
            col(WebhookDelivery.tenant_id) == held.tenant,
            col(WebhookDelivery.id) == held.delivery_id,
            col(WebhookDelivery.state) == DeliveryState.sending,
            col(WebhookDelivery.attempts) == held.number,
        )
        .values(
            state=state,
            last_attempt_at=moment,
            last_status=status,
            last_error=error,
            next_attempt_at=None if pause is None else moment + pause,
            ended_at=moment if pause is None else None,
        )
    )
    return session.exec(statement, execution_options={"synchronize_session": False}).rowcount == 1


def forget_older(session: Session, age: timedelta) -> int:
    """Delete deliveries of all tenants that ended longer ago, and say how many."""
    result = session.exec(
        delete(WebhookDelivery).where(col(WebhookDelivery.ended_at) < database_now(session) - age),
        execution_options={"synchronize_session": False},
    )
    return result.rowcount


def _add(session: Session, webhook: Webhook, event: str, moment: datetime, job: Job | None = None) -> WebhookDelivery:
    delivery = WebhookDelivery(
        tenant_id=webhook.tenant_id,
        webhook_id=webhook.id,
        event=event,
        job_id=job.id if job else None,
        user_id=job.user_id if job else None,
        next_attempt_at=moment,
        created_at=moment,
    )
    session.add(delivery)
    return delivery


def _is_due(moment: datetime) -> tuple[ColumnElement[bool], ...]:
    return (col(WebhookDelivery.state).in_(OPEN), col(WebhookDelivery.next_attempt_at) <= moment)
