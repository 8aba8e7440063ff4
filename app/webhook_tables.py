"""The tables of webhooks: where events are sent, and each sending of one, which is at once its outbox row.

As those of `app.tables`: every row carries its tenant, times are aware UTC. Must not know HTTP.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, Column, Index, Text
from sqlmodel import Field, SQLModel

from app.tables import new_id, now, state_column
from app.webhooks.events import DeliveryState


class Webhook(SQLModel, table=True):
    """An address of a tenant that hears of events, as long as it is not disabled.

    The secrets are kept as they are, not as digests: every delivery is signed with them.
    """

    __tablename__ = "webhooks"
    __table_args__ = (Index("ix_webhooks_tenant", "tenant_id", "created_at", "id"),)

    id: str = Field(default_factory=lambda: new_id("hook"), primary_key=True, max_length=64)
    tenant_id: str = Field(max_length=64)
    url: str = Field(sa_column=Column(Text, nullable=False))
    events: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    secret: str = Field(max_length=128)
    previous_secret: str | None = Field(default=None, max_length=128, description="the one before a rotation")
    previous_until: datetime | None = Field(default=None, description="how long both sign")
    created_by: str = Field(max_length=64, description="the key that made it")
    created_at: datetime = Field(default_factory=now)
    disabled_at: datetime | None = None
    disabled_because: str | None = Field(default=None, max_length=32, description="request, or gone: it answered 410")

    @property
    def enabled(self) -> bool:
        return self.disabled_at is None


class WebhookDelivery(SQLModel, table=True):
    """One event for one webhook, written in the transaction that makes it true. The body is made of these columns.

    `attempts` is the fencing token: it rises with every claim, and only the claim with the present value may say how
    it went. `next_attempt_at` is when it is due; while it is being sent, when its sender is taken for dead.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("ix_webhook_deliveries_due", "state", "next_attempt_at"),
        Index("ix_webhook_deliveries_webhook", "webhook_id", "created_at", "id"),
        Index("ix_webhook_deliveries_user", "tenant_id", "user_id"),
    )

    id: str = Field(default_factory=lambda: new_id("msg"), primary_key=True, max_length=64)
    """The header `webhook-id`: the same at every attempt, so that a receiver knows it again."""
    tenant_id: str = Field(max_length=64)
    webhook_id: str = Field(foreign_key="webhooks.id", max_length=64, ondelete="CASCADE")
    event: str = Field(max_length=32)
    job_id: str | None = Field(default=None, max_length=64)
    user_id: str | None = Field(default=None, max_length=128)
    state: DeliveryState = Field(default=DeliveryState.waiting, sa_column=state_column(DeliveryState))
    attempts: int = 0
    attempts_before: int = Field(default=0, description="those made before it was last asked for again")
    next_attempt_at: datetime | None = None
    last_attempt_at: datetime | None = None
    last_status: int | None = Field(default=None, description="HTTP status of the last answer")
    last_error: str | None = Field(default=None, max_length=64, description="why there was none, or no attempt")
    created_at: datetime = Field(default_factory=now, description="when it happened, on the database's clock")
    ended_at: datetime | None = None
