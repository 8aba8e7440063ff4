"""The sender of webhooks: looks for deliveries that are due, claims, signs and sends them, and notes how it went.

Every API process runs one; they need not know of each other, for a delivery is claimed by one of them at a time. One
webhook gets one delivery after another from a process, so that a slow receiver holds up nobody else. Must not know
what the deliveries tell of.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar, TypeVarTuple

import anyio
import httpx
import structlog
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskGroup

from app.database import Database
from app.errors import DatabaseAwayError
from app.metrics import Metrics
from app.repositories import deliveries, webhooks
from app.repositories.deliveries import Claim
from app.tables import now
from app.webhooks.events import DeliveryState
from app.webhooks.schedule import pause_after
from app.webhooks.sending import Answer, Request, post
from app.webhooks.signing import signed_headers

EVERY_SECONDS = 1.0
"""Pause between two looks for what is due."""
LONGEST_WAIT_SECONDS = 30.0
"""Longest such pause while the database is away."""
AT_ONCE = 16
"""Webhooks sent to at once by one process."""
LEASE = timedelta(minutes=1)
"""Longer than an attempt can last, with the writing before and after it."""

Arguments = TypeVarTuple("Arguments")
T = TypeVar("T")
log = structlog.get_logger(__name__)


class Sender:
    """Sends what is due until it is cancelled.

    Args:
        private: whether private addresses and plain http are allowed.
    """

    def __init__(self, database: Database, metrics: Metrics, *, private: bool) -> None:
        self._database = database
        self._metrics = metrics
        self._private = private
        self._tls = httpx.create_ssl_context()
        # Apart from those of the routes, which a name server that takes its time must not keep waiting.
        self._threads = CapacityLimiter(AT_ONCE)
        self._at_work: set[str] = set()

    async def run(self) -> None:
        """Go on until cancelled. What is being sent then is sent again by whoever finds its lease over; what is being
        written is written first."""
        pause = EVERY_SECONDS
        async with anyio.create_task_group() as group:
            while True:
                await anyio.sleep(pause)
                try:
                    await self.begin(group)
                except Exception as error:  # whatever it is, the next look may go better
                    if pause == EVERY_SECONDS:
                        _log_failure("webhooks_wait", error)
                    pause = min(LONGEST_WAIT_SECONDS, 2 * pause)
                else:
                    pause = EVERY_SECONDS

    async def begin(self, group: TaskGroup) -> None:
        """Start, in this group, on every webhook something is due for and that is not being sent to already.

        Raises:
            DatabaseAwayError.
        """
        for webhook_id in await self._in_thread(self._due_webhooks, frozenset(self._at_work)):
            self._at_work.add(webhook_id)
            group.start_soon(self._send_all, webhook_id)

    async def _send_all(self, webhook_id: str) -> None:
        """Send what is due for one webhook, one after another."""
        try:
            while (held := await self._in_thread(self._claim, webhook_id)) is not None:
                answer = await self._send(held)
                await self._in_thread(self._note, held, answer)
        except Exception as error:
            # What it held is due again when its lease is over.
            _log_failure("webhook_not_sent", error, webhook=webhook_id)
        finally:
            self._at_work.discard(webhook_id)

    async def _send(self, held: Claim) -> Answer:
        # Made once, so that what is signed is what is sent.
        body = json.dumps(held.payload, separators=(",", ":"))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "milp-serve",
            **signed_headers(held.delivery_id, now(), body, held.secrets),
        }
        request = Request(held.url, headers, body.encode())
        return await post(request, private=self._private, tls=self._tls, threads=self._threads)

    async def _in_thread(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        return await to_thread.run_sync(work, *arguments, limiter=self._threads)

    def _due_webhooks(self, at_work: frozenset[str]) -> list[str]:
        with self._database.read() as session:
            return deliveries.due_webhooks(session, at_work, AT_ONCE - len(at_work))

    def _claim(self, webhook_id: str) -> Claim | None:
        with self._database.write() as session:
            return deliveries.claim(session, webhook_id, LEASE)

    def _note(self, held: Claim, answer: Answer) -> None:
        """Write down what came of it, unless somebody else has the delivery by now, or it was deleted."""
        pause = None
        if answer.delivered:
            state, outcome = DeliveryState.delivered, "delivered"
        elif answer.gone or (pause := pause_after(held.tried, answer.retry_after)) is None:
            state, outcome = DeliveryState.failed, "given_up"
        else:
            state, outcome = DeliveryState.waiting, "postponed"
        with self._database.write() as session:
            webhook = webhooks.find_and_lock(session, held.tenant, held.webhook_id) if answer.gone else None
            if not deliveries.end(session, held, state, status=answer.status, error=answer.error, pause=pause):
                outcome = "lost"
            elif webhook is not None and webhook.url == held.url:
                webhooks.disable(session, webhook, webhooks.GONE)
        self._metrics.count_delivery(outcome)
        # Never the URL: receivers keep secrets in theirs.
        told = log.bind(webhook=held.webhook_id, delivery=held.delivery_id, attempt=held.number, status=answer.status)
        (told.warning if outcome == "given_up" else told.info)("webhook_sent", outcome=outcome, reason=answer.error)


def _log_failure(what: str, error: Exception, **about: str) -> None:
    known = isinstance(error, DatabaseAwayError)
    log.warning(what, reason=str(error), exc_info=None if known else error, **about)
