"""GET /v1/jobs/{job_id}/events: what happens to a job as server-sent events, resumable, until the job has ended.

The database is asked again and again in short transactions, so every API process can serve every job, and a client
that lost its connection goes on after the last event it saw (Last-Event-ID).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
import structlog
from anyio import to_thread
from fastapi import APIRouter, Header
from sse_starlette import EventSourceResponse, ServerSentEvent

from app import errors
from app.auth import Reader
from app.openapi import event_stream, problems
from app.repositories import events, jobs
from app.routers.parameters import JobIdDep
from app.state import Services, ServicesDep
from app.tables import Event

router = APIRouter(tags=["jobs"])

LOOK_SECONDS = 0.5
"""Pause between two looks for new events; a trial takes seconds."""
_LONGEST_PAUSE_SECONDS = 2.0
"""Where nothing happens the pause grows to this: most streams are of jobs that wait."""
KEEP_ALIVE_SECONDS = 15
"""Between two comments on a quiet stream; proxies cut connections that are silent for 30 to 60 seconds."""
_AT_ONCE = 200

log = structlog.get_logger(__name__)


@router.get(
    "/v1/jobs/{job_id}/events",
    response_class=EventSourceResponse,
    responses=problems(errors.JobNotFoundError)
    | event_stream("event: status, trial, progress, report or error; data: JSON; id: cursor"),
)
def follow(
    job_id: JobIdDep,
    caller: Reader,
    services: ServicesDep,
    last_event_id: Annotated[str | None, Header(description="go on after this event")] = None,
) -> EventSourceResponse:
    """Everything that happened to the job and happens to it; the stream ends when the job has."""
    after = _event_id(last_event_id)
    first = _look(services, caller.tenant, job_id, after)
    return EventSourceResponse(_stream(services, caller.tenant, job_id, after, first), ping=KEEP_ALIVE_SECONDS)


async def _stream(
    services: Services, tenant: str, job_id: str, after: int, first: tuple[list[Event], bool]
) -> AsyncIterator[ServerSentEvent]:
    (found, ended), pause = first, LOOK_SECONDS
    while True:
        for event in found:
            after = event.id or after
            data = json.dumps({**event.data, "at": event.created_at.isoformat()})
            yield ServerSentEvent(data, event=event.kind, id=str(after))
        if ended and len(found) < _AT_ONCE:
            return
        pause = LOOK_SECONDS if found else min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
        if not found:
            await anyio.sleep(pause)
        try:
            found, ended = await to_thread.run_sync(_look, services, tenant, job_id, after)
        except errors.ServiceError as error:
            # The client reconnects with its last id; by then the job is gone for good or the database is back.
            log.warning("event_stream_broken", job_id=job_id, code=error.code)
            return


def _look(services: Services, tenant: str, job_id: str, after: int) -> tuple[list[Event], bool]:
    """New events, and whether the job had ended before they were looked up: its last event is then among them."""
    with services.database.read() as session:
        ended = jobs.get_job(session, tenant, job_id).status.is_final
        return events.events_after(session, tenant, job_id, after, _AT_ONCE), ended


def _event_id(text: str | None) -> int:
    if not text:
        return 0
    # Python reads no number of thousands of digits.
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < 2**63):
        raise errors.InvalidInputError("Last-Event-ID: the id of an event of this stream, or nothing.")
    return int(text)
