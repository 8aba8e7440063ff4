"""What webhooks tell of, the states of telling it, and the body that tells it: ids and states, never a text.

Pure: knows no database, no HTTP and no signature.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, get_args

from app.job_states import JobStatus

JobEvent = Literal["job.succeeded", "job.failed", "job.cancelled"]
JOB_EVENTS: tuple[JobEvent, ...] = get_args(JobEvent)
TEST_EVENT = "webhook.test"
"""Sent when somebody asks for it, whatever events the webhook is for."""


class DeliveryState(StrEnum):
    waiting = "waiting"
    sending = "sending"
    """A sender has it, until its lease runs out."""
    delivered = "delivered"
    failed = "failed"
    """Given up. It can be asked for again, as one that was delivered can."""


OPEN = frozenset({DeliveryState.waiting, DeliveryState.sending})


def event_of(status: JobStatus) -> str:
    """The event of a job that ends with this status."""
    return f"job.{status.value}"


def payload(event: str, moment: datetime, webhook_id: str, job_id: str | None, user_id: str | None) -> dict[str, Any]:
    """The body of a delivery, with the structure that Standard Webhooks recommends: `type`, `timestamp`, `data`."""
    data = {"webhook_id": webhook_id} if job_id is None else _of_job(event, job_id, user_id)
    return {"type": event, "timestamp": moment.isoformat(), "data": data}


def _of_job(event: str, job_id: str, user_id: str | None) -> dict[str, Any]:
    return {"job_id": job_id, "user_id": user_id, "status": event.removeprefix("job.")}
