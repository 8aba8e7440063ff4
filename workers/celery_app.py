"""The Celery application: `celery -A workers.celery_app worker`. One queue, one task, settings for short doorbells.

Loads no model: the main process only receives messages and dispatches; the pool's process does the work. That process
is spawned, not forked, for CUDA does not survive a fork. Facts about Celery 5.7 that this rests on: a message is
acknowledged before the step runs and may be lost or come twice, for the database's lease decides, not the message.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import Celery, signals
from kombu.exceptions import OperationalError

from app.database import Database
from app.logging import configure_logging
from app.process_memory import keep_little
from app.repositories.waiting import begins_job
from app.settings import get_settings
from app.tables import Step
from app.tracing import start_tracing
from workers import leaving
from workers.dispatcher import Dispatcher
from workers.presence import Presence

QUEUE = "milp"
TASK = "milp.step"
VISIBILITY_SECONDS = 60
"""Redis hands out a message again that was fetched but not acknowledged for so long: a worker died in between."""
_AT_ONCE, _LAST = 0, 9
"""Priorities of messages; in Redis the queue is a list for each."""
_CONNECT_SECONDS = 5
_START_SECONDS = 60.0
_GIVES_WAY = 19
"""What trains for minutes gives way, on the same cores, to what somebody waits for, answers being decoded included.
Only once it has started: somebody waits for that too."""

settings = get_settings()
app = Celery("milp", broker=settings.broker_url or "redis://127.0.0.1:6379/0", include=["workers.tasks"])
app.conf.update(
    task_default_queue=QUEUE,
    task_ignore_result=True,
    task_acks_late=False,
    worker_pool="prefork",
    worker_pool_start_method="spawn",
    worker_concurrency=1,
    # A spawned process imports all anew; on a busy machine that takes longer than Celery's 4 s, which would kill it.
    worker_proc_alive_timeout=_START_SECONDS,
    # A busy worker keeps no message that an idle one could take.
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "visibility_timeout": VISIBILITY_SECONDS,
        "priority_steps": [_AT_ONCE, _LAST],
        "socket_connect_timeout": _CONNECT_SECONDS,
        "socket_keepalive": True,
    },
    visibility_timeout=VISIBILITY_SECONDS,
    result_backend_transport_options={"visibility_timeout": VISIBILITY_SECONDS},
)

_dispatcher: Dispatcher | None = None
_presence: Presence | None = None


def ring(step: Step) -> None:
    """Send the message for a step, or fail soon: whoever calls tries again later.

    Workers take messages for jobs that have begun before those that begin one.

    Raises:
        ConnectionError: the broker is away.
    """
    try:
        priority = _LAST if begins_job(step) else _AT_ONCE
        app.send_task(TASK, args=[step.id], queue=QUEUE, priority=priority, retry=False, ignore_result=True)
    except OperationalError as error:
        raise ConnectionError(f"The broker cannot be reached: {error}") from error


def _set_up_logging(**_: Any) -> None:
    configure_logging(settings.log_level)
    logging.captureWarnings(True)


def _start_dispatcher(sender: Any, **_: Any) -> None:
    global _dispatcher, _presence
    leaving.remember_pool(sender.pool)
    _dispatcher = Dispatcher(
        Database(settings.resolved_database_url),
        ring,
        every_seconds=settings.dispatch_seconds,
        max_attempts=settings.max_attempts,
        lease_seconds=settings.lease_seconds,
        end_silent=leaving.end_silent,
    )
    _dispatcher.start()
    _presence = Presence(app.conf.broker_url, sender.hostname)
    _presence.start()


def _hurry(**_: Any) -> None:
    if _dispatcher is not None:
        _dispatcher.stop()
    if _presence is not None:
        _presence.stop()
    leaving.tell_pool()


def _begin_process(**_: Any) -> None:
    """In a pool's process: the one that works, and so the one whose work is traced."""
    keep_little()
    os.nice(_GIVES_WAY)
    leaving.listen()
    send_the_rest = start_tracing("worker")
    signals.worker_process_shutdown.connect(lambda **_: send_the_rest(), weak=False)


signals.setup_logging.connect(_set_up_logging, weak=False)
signals.worker_ready.connect(_start_dispatcher, weak=False)
signals.worker_shutting_down.connect(_hurry, weak=False)
signals.worker_process_init.connect(_begin_process, weak=False)
