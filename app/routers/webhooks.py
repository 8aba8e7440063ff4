"""Webhooks: GET and POST /v1/webhooks and what belongs to one. For the admins of a tenant, about that tenant's.

These take no Idempotency-Key: the answer under one is kept, and some of theirs hold a secret.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app import errors
from app.auth import Admin
from app.openapi import problems
from app.repositories import deliveries, webhooks
from app.routers.as_json import as_json
from app.routers.parameters import CursorParam, DeliveryIdDep, LimitParam, WebhookIdDep
from app.schemas.common import Paged
from app.schemas.webhooks import (
    DeliveryOut,
    JobEventOut,
    SecretRotationIn,
    WebhookChange,
    WebhookIn,
    WebhookOut,
    WebhookShown,
)
from app.state import ServicesDep
from app.webhook_tables import Webhook
from app.webhooks import managing
from app.webhooks.events import DeliveryState

router = APIRouter(tags=["webhooks"])
told = APIRouter()
"""What receivers are sent, for the OpenAPI document: nothing is routed to these."""

_ONE = (errors.WebhookNotFoundError,)
_URL = (errors.InvalidJsonError, errors.InvalidWebhookUrlError, errors.NoPublicAddressError)


@router.get("/v1/webhooks", responses=problems(errors.InvalidCursorError))
@as_json
def list_webhooks(
    caller: Admin, services: ServicesDep, limit: LimitParam = 50, cursor: CursorParam = None
) -> Paged[WebhookOut]:
    """The tenant's webhooks, newest first, without their secrets; disabled ones too."""
    with services.database.read() as session:
        page = webhooks.page_webhooks(session, caller.tenant, cursor, limit)
    return Paged(items=[_out(webhook) for webhook in page.items], next_cursor=page.next_cursor)


@router.post("/v1/webhooks", status_code=201, responses=problems(*_URL))
def create_webhook(caller: Admin, services: ServicesDep, body: WebhookIn, response: Response) -> WebhookShown:
    """Have a URL told when jobs end. The secret that signs is in this answer and nowhere else."""
    private = services.settings.webhooks_private
    return _shown(managing.create(services.database, caller.deed, body.url, body.events, private=private), response)


@router.get("/v1/webhooks/{webhook_id}", responses=problems(*_ONE))
@as_json
def get_webhook(webhook_id: WebhookIdDep, caller: Admin, services: ServicesDep) -> WebhookOut:
    """A webhook, without its secret."""
    with services.database.read() as session:
        return _out(webhooks.get_webhook(session, caller.tenant, webhook_id))


@router.patch("/v1/webhooks/{webhook_id}", responses=problems(*_ONE, *_URL))
def change_webhook(webhook_id: WebhookIdDep, caller: Admin, services: ServicesDep, body: WebhookChange) -> WebhookOut:
    """Send it elsewhere, for other events, or disable and enable it. Events while it is disabled are not sent later."""
    private = services.settings.webhooks_private
    return _out(managing.change(services.database, caller.deed, webhook_id, private=private, **body.model_dump()))


@router.delete("/v1/webhooks/{webhook_id}", responses=problems(*_ONE))
def delete_webhook(webhook_id: WebhookIdDep, caller: Admin, services: ServicesDep) -> WebhookOut:
    """Delete it with its deliveries; the webhook as it was."""
    return _out(managing.delete(services.database, caller.deed, webhook_id))


@router.post("/v1/webhooks/{webhook_id}/rotate", responses=problems(*_ONE, errors.InvalidJsonError))
def rotate_secret(
    webhook_id: WebhookIdDep, caller: Admin, services: ServicesDep, body: SecretRotationIn, response: Response
) -> WebhookShown:
    """Give it a new secret; until the time of grace is over, deliveries have the signatures of both."""
    grace = timedelta(seconds=body.grace_seconds)
    return _shown(managing.rotate(services.database, caller.deed, webhook_id, grace), response)


@router.post("/v1/webhooks/{webhook_id}/test", status_code=202, responses=problems(*_ONE, errors.ConflictError))
def test_webhook(webhook_id: WebhookIdDep, caller: Admin, services: ServicesDep) -> DeliveryOut:
    """Send it the event `webhook.test`; its deliveries say how that went."""
    delivery = managing.send_test(services.database, caller.deed, webhook_id)
    return DeliveryOut.model_validate(delivery, from_attributes=True)


@router.get("/v1/webhooks/{webhook_id}/deliveries", responses=problems(*_ONE, errors.InvalidCursorError))
@as_json
def list_deliveries(
    webhook_id: WebhookIdDep,
    caller: Admin,
    services: ServicesDep,
    state: Annotated[DeliveryState | None, Query(description="only those in this state")] = None,
    limit: LimitParam = 50,
    cursor: CursorParam = None,
) -> Paged[DeliveryOut]:
    """What it was sent and is to be sent, newest first."""
    with services.database.read() as session:
        webhooks.get_webhook(session, caller.tenant, webhook_id)
        page = deliveries.page_deliveries(session, caller.tenant, webhook_id, state, cursor, limit)
    items = [DeliveryOut.model_validate(delivery, from_attributes=True) for delivery in page.items]
    return Paged(items=items, next_cursor=page.next_cursor)


@router.post(
    "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver",
    status_code=202,
    responses=problems(*_ONE, errors.DeliveryNotFoundError, errors.ConflictError),
)
def redeliver(
    webhook_id: WebhookIdDep, delivery_id: DeliveryIdDep, caller: Admin, services: ServicesDep
) -> DeliveryOut:
    """Send a delivery again at once, under its id and with all its attempts before it, whatever became of it."""
    delivery = managing.redeliver(services.database, caller.deed, webhook_id, delivery_id)
    return DeliveryOut.model_validate(delivery, from_attributes=True)


@told.post("job.ended", status_code=204, responses={"default": {"description": "Not received: it is sent again."}})
def job_ended(body: JobEventOut) -> None:
    """A job succeeded, failed or was cancelled. Signed after Standard Webhooks; any status of 200 to 299 is taken for
    received, and a delivery may come more than once, under the same `webhook-id`."""


def _out(webhook: Webhook) -> WebhookOut:
    return WebhookOut.model_validate(webhook, from_attributes=True)


def _shown(webhook: Webhook, response: Response) -> WebhookShown:
    response.headers["Cache-Control"] = "no-store"
    return WebhookShown.model_validate(webhook, from_attributes=True)
