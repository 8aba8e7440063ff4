"""Webhooks and their deliveries over the wire. A secret is in two answers only: of the making and of a rotation."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.schemas.common import Body, PlainText
from app.schemas.keys import MAX_GRACE_SECONDS
from app.webhooks.events import JOB_EVENTS, DeliveryState, JobEvent

_MAX_URL = 2048
_URL = "https, to a host on the internet; up to 2048 characters"


class WebhookIn(Body):
    """A webhook to be made."""

    url: PlainText = Field(min_length=1, max_length=_MAX_URL, description=_URL)
    events: list[JobEvent] = Field(
        list(JOB_EVENTS), min_length=1, max_length=len(JOB_EVENTS), description="what it is to hear of"
    )


class WebhookChange(Body):
    """What is to change of a webhook; what is left out stays."""

    url: PlainText | None = Field(None, min_length=1, max_length=_MAX_URL, description=_URL)
    events: list[JobEvent] | None = Field(None, min_length=1, max_length=len(JOB_EVENTS))
    enabled: bool | None = Field(None, description="false: send nothing more, and give up what waits")


class SecretRotationIn(Body):
    """How a webhook's secret is replaced."""

    grace_seconds: int = Field(
        ge=0, le=MAX_GRACE_SECONDS, description="how long the secret before signs as well; 0 after a leak"
    )


class WebhookOut(BaseModel):
    """A webhook, without its secret."""

    id: str
    url: str
    events: list[JobEvent]
    enabled: bool
    disabled_at: datetime | None
    disabled_because: Literal["request", "gone"] | None = Field(description="gone: its receiver answered 410")
    created_by: str = Field(description="the key that made it")
    created_at: datetime
    previous_until: datetime | None = Field(description="how long the secret before the last rotation signs as well")


class WebhookShown(WebhookOut):
    """A webhook with its secret, which cannot be shown again."""

    secret: str = Field(description="whsec_..., as the libraries of Standard Webhooks take it")


class DeliveryOut(BaseModel):
    """One event for one webhook, and how telling it goes."""

    id: str = Field(description="the header webhook-id, the same at every attempt")
    webhook_id: str
    event: str
    job_id: str | None
    user_id: str | None
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime | None = Field(description="while sending: when it is sent again if the sender dies")
    last_attempt_at: datetime | None
    last_status: int | None = Field(description="HTTP status that was answered; 200 to 299 is delivered")
    last_error: str | None = Field(
        description="why none was: timed_out, connection_failed, no_answer, no_public_address, invalid_webhook_url, "
        "webhook_disabled"
    )
    created_at: datetime = Field(description="when it happened")
    ended_at: datetime | None


class JobEnded(BaseModel):
    """Ids alone: GET /v1/jobs/{job_id} says more to whoever may see it."""

    job_id: str
    user_id: str
    status: Literal["succeeded", "failed", "cancelled"]


class JobEventOut(BaseModel):
    """What a receiver gets when a job has ended."""

    type: JobEvent
    timestamp: datetime = Field(description="when it ended")
    data: JobEnded
