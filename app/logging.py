"""What every part logs: JSON lines on stderr, its own and those of the libraries it uses. Knows no HTTP and no Celery.

A line carries the ids that are bound where it is written (request; job, step, trial) and, where the work is traced, the
trace's. Never a text that somebody wrote: those are people's histories.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, ExcInfo, Processor

from app.access.key_text import without_secrets

_DATABASE_ERRORS = ("sqlalchemy.", "psycopg.", "sqlite3.")
_HEARD = ("celery", "uvicorn", "uvicorn.error")
"""They tell how a process starts and ends."""
_TOLD_OTHERWISE = ("celery.worker.strategy", "celery.app.trace")
"""Two lines for each message; the step it is about has its own."""

_json = structlog.processors.JSONRenderer()


def configure_logging(level: str) -> None:
    """JSON lines from `level` upwards (debug, info, warning, error).

    Of libraries, what they warn of: what they say for debugging may hold texts (sse_starlette, for one, logs all that
    it sends).
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    known: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _name_trace,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(_traceback),
    ]
    structlog.configure(
        processors=[*known, _render],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    lines = _Lines()
    lines.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *known],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render],
        )
    )
    root = logging.getLogger()
    root.handlers = [*(handler for handler in root.handlers if not isinstance(handler, _Lines)), lines]
    root.setLevel(max(least, logging.WARNING))
    for names, floor in ((_HEARD, logging.INFO), (_TOLD_OTHERWISE, logging.WARNING)):
        for name in names:
            logging.getLogger(name).setLevel(max(least, floor))
    # uvicorn brings handlers of its own, which write plain text.
    server = logging.getLogger("uvicorn")
    server.handlers, server.propagate = [], True


def present_request() -> str | None:
    """The id of the request that this is done for, None where it is done for none."""
    found = structlog.contextvars.get_contextvars().get("request_id")
    return None if found is None else str(found)


class _Lines(logging.Handler):
    """Writes what libraries log to whatever stderr is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except Exception:
            self.handleError(record)


def _name_trace(_logger: Any, _method: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
    return event


def _traceback(exc_info: ExcInfo) -> str:
    """As Python prints it, but of a database's error the first line alone: the next may quote a whole row."""
    parts = traceback.format_exception(*exc_info)
    return "".join(part.partition("\n")[0] + "\n" if part.startswith(_DATABASE_ERRORS) else part for part in parts)


def _render(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    """The event as one line. A key that came in a path or an error is cut to its id, wherever it stands."""
    return without_secrets(str(_json(logger, method, event)))
