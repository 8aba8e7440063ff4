"""Webhooks made, changed, rotated, tested and deleted, each with its entry in the audit log. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from app.access import audit
from app.access.audit import Deed
from app.database import Database
from app.errors import ConflictError, ServiceError
from app.repositories import deliveries, webhooks
from app.repositories.clock import database_now
from app.webhook_tables import Webhook, WebhookDelivery
from app.webhooks.addresses import addresses_of, checked_url
from app.webhooks.events import JOB_EVENTS, JobEvent
from app.webhooks.signing import new_secret


def create(database: Database, deed: Deed, url: str, events: Sequence[JobEvent], *, private: bool) -> Webhook:
    """A new webhook of the deed's tenant, with its secret.

    Raises:
        InvalidWebhookUrlError, NoPublicAddressError: nothing may be sent there.
    """
    _check(database, deed, url, private)
    with audit.noted(database, deed) as session:
        webhook = Webhook(
            tenant_id=deed.tenant,
            url=url,
            events=_in_order(events),
            secret=new_secret(),
            created_by=deed.key_id,
            created_at=database_now(session),
        )
        session.add(webhook)
        session.flush()
        audit.done(session, deed.on(webhook.id))
    return webhook


def change(
    database: Database,
    deed: Deed,
    webhook_id: str,
    *,
    url: str | None,
    events: Sequence[JobEvent] | None,
    enabled: bool | None,
    private: bool,
) -> Webhook:
    """Change what is not None. Disabling gives up what waits for the webhook; enabling brings nothing of that back.

    Raises:
        WebhookNotFoundError: the tenant has no such webhook.
        InvalidWebhookUrlError, NoPublicAddressError: nothing may be sent there.
    """
    if url is not None:
        _check(database, deed, url, private)
    with audit.noted(database, deed) as session:
        webhook = webhooks.lock_webhook(session, deed.tenant, webhook_id)
        if url is not None:
            webhook.url = url
        if events is not None:
            webhook.events = _in_order(events)
        if enabled:
            webhook.disabled_at = webhook.disabled_because = None
        elif enabled is not None:
            webhooks.disable(session, webhook, webhooks.ON_REQUEST)
        session.flush()
        audit.done(session, deed)
    return webhook


def rotate(database: Database, deed: Deed, webhook_id: str, grace: timedelta) -> Webhook:
    """Give the webhook a new secret. For as long as `grace`, the one before signs as well; any older one no more.

    Raises:
        WebhookNotFoundError: the tenant has no such webhook.
    """
    with audit.noted(database, deed) as session:
        webhook = webhooks.lock_webhook(session, deed.tenant, webhook_id)
        # One that signs nothing any more is not kept.
        webhook.previous_secret = webhook.secret if grace else None
        webhook.previous_until = database_now(session) + grace if grace else None
        webhook.secret = new_secret()
        session.flush()
        audit.done(session, deed)
    return webhook


def delete(database: Database, deed: Deed, webhook_id: str) -> Webhook:
    """Delete it with its deliveries, sent or not. Raises: WebhookNotFoundError."""
    with audit.noted(database, deed) as session:
        webhook = webhooks.lock_webhook(session, deed.tenant, webhook_id)
        webhooks.delete_webhook(session, webhook)
        audit.done(session, deed)
    return webhook


def send_test(database: Database, deed: Deed, webhook_id: str) -> WebhookDelivery:
    """A delivery that tells of nothing, to see whether and how it arrives.

    Raises:
        WebhookNotFoundError: the tenant has no such webhook.
        ConflictError: it is disabled.
    """
    with audit.noted(database, deed) as session:
        delivery = deliveries.add_test(session, _enabled(webhooks.lock_webhook(session, deed.tenant, webhook_id)))
        audit.done(session, deed)
    return delivery


def redeliver(database: Database, deed: Deed, webhook_id: str, delivery_id: str) -> WebhookDelivery:
    """Send a delivery again, under its id, whatever became of it.

    Raises:
        WebhookNotFoundError, DeliveryNotFoundError: the tenant has no such thing.
        ConflictError: the webhook is disabled, or the delivery is being sent.
    """
    with audit.noted(database, deed) as session:
        webhook = _enabled(webhooks.lock_webhook(session, deed.tenant, webhook_id))
        delivery = deliveries.send_again(session, webhook, delivery_id)
        audit.done(session, deed)
    return delivery


def _check(database: Database, deed: Deed, url: str, private: bool) -> None:
    """Outside of any transaction, for the DNS may take its time. What is refused is noted all the same."""
    try:
        addresses_of(checked_url(url, private), private)
    except ServiceError as error:
        audit.refused(database, deed, error.code)
        raise


def _enabled(webhook: Webhook) -> Webhook:
    if not webhook.enabled:
        raise ConflictError(
            f"Webhook '{webhook.id}' is disabled, so nothing is sent there. Enable it first: "
            f'PATCH /v1/webhooks/{webhook.id} with {{"enabled": true}}.'
        )
    return webhook


def _in_order(events: Sequence[JobEvent]) -> list[str]:
    return [event for event in JOB_EVENTS if event in events]
