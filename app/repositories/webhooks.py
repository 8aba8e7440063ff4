"""Webhooks: finding them, and disabling one with what waits for it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, update
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from app.errors import WebhookNotFoundError
from app.repositories.clock import database_now
from app.repositories.paging import Page, page
from app.webhook_tables import Webhook, WebhookDelivery
from app.webhooks.events import DeliveryState

GONE = "gone"
"""Why it was disabled: its receiver answered 410."""
ON_REQUEST = "request"
DISABLED = "webhook_disabled"
"""In place of an answer: why a delivery was given up."""


def get_webhook(session: Session, tenant: str, webhook_id: str) -> Webhook:
    """Raises: WebhookNotFoundError."""
    return _found(session.exec(_one(tenant, webhook_id)).one_or_none(), webhook_id)


def find_and_lock(session: Session, tenant: str, webhook_id: str) -> Webhook | None:
    """The webhook as it is now, held until the transaction ends. Call it before touching its deliveries."""
    # Whoever announces an event holds the row by its key alone, and is not kept waiting.
    statement = _one(tenant, webhook_id).with_for_update(key_share=True)
    return session.exec(statement, execution_options={"populate_existing": True}).one_or_none()


def lock_webhook(session: Session, tenant: str, webhook_id: str) -> Webhook:
    """As `find_and_lock`. Raises: WebhookNotFoundError."""
    return _found(find_and_lock(session, tenant, webhook_id), webhook_id)


def page_webhooks(session: Session, tenant: str, cursor: str | None, limit: int) -> Page[Webhook]:
    """The tenant's webhooks, newest first. Raises: InvalidCursorError."""
    return page(
        session,
        select(Webhook).where(Webhook.tenant_id == tenant),
        [Webhook.created_at, Webhook.id],
        lambda webhook: [webhook.created_at, webhook.id],
        [datetime, str],
        cursor=cursor,
        limit=limit,
        newest_first=True,
    )


def delete_webhook(session: Session, webhook: Webhook) -> None:
    """Its deliveries go with it (ON DELETE CASCADE)."""
    session.exec(delete(Webhook).where(col(Webhook.tenant_id) == webhook.tenant_id, col(Webhook.id) == webhook.id))


def disable(session: Session, webhook: Webhook, because: str) -> None:
    """Send it nothing more, from now on; what waits for it is given up. `webhook` is to be locked."""
    if webhook.disabled_at is None:
        webhook.disabled_at, webhook.disabled_because = database_now(session), because
        session.flush()
    give_up_waiting(session, webhook)


def give_up_waiting(session: Session, webhook: Webhook) -> None:
    """End the deliveries that wait for a disabled webhook. One that is being sent ends by itself, unless its sender
    fell silent."""
    moment = database_now(session)
    silent = (col(WebhookDelivery.state) == DeliveryState.sending) & (col(WebhookDelivery.next_attempt_at) <= moment)
    session.exec(
        update(WebhookDelivery)
        .where(
            col(WebhookDelivery.tenant_id) == webhook.tenant_id,
            col(WebhookDelivery.webhook_id) == webhook.id,
            (col(WebhookDelivery.state) == DeliveryState.waiting) | silent,
        )
        .values(state=DeliveryState.failed, last_error=DISABLED, next_attempt_at=None, ended_at=moment),
        execution_options={"synchronize_session": False},
    )


def _one(tenant: str, webhook_id: str) -> SelectOfScalar[Webhook]:
    return select(Webhook).where(Webhook.tenant_id == tenant, Webhook.id == webhook_id)


def _found(webhook: Webhook | None, webhook_id: str) -> Webhook:
    if webhook is None:
        raise WebhookNotFoundError(f"There is no webhook '{webhook_id}'. GET /v1/webhooks lists yours.")
    return webhook
