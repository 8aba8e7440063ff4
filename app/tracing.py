"""Traces, by OpenTelemetry: from a request over its job's steps to the trials, and through the phases of an answer.

They are sent where the standard variables name a collector (OTEL_EXPORTER_OTLP_ENDPOINT, ..._TRACES_ENDPOINT); else
none are made, and all of this does next to nothing: the API that is used here comes with FastAPI, what records and
sends is the extra `otel`. An attribute is an id, a number or a name, never a text that somebody wrote. Must not know
requests, jobs or trials.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog
from opentelemetry import trace
from opentelemetry.trace import Span, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.access.key_text import without_secrets

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

Attributes = Mapping[str, str | int | float | bool]

_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_NANOSECONDS = 1_000_000_000
_TRACE = "traceparent"
_tracer = trace.get_tracer("milp-serve")
_carrying = TraceContextTextMapPropagator()

log = structlog.get_logger(__name__)


def start_tracing(part: str) -> Callable[[], None]:
    """Send this process's traces, if a collector is named; what to call at its end, so that the last ones go too.

    Args:
        part: what the process is, `api` or `worker`; OTEL_SERVICE_NAME may name it otherwise.
    """
    if not any(os.environ.get(name) for name in _VARIABLES) or os.environ.get("OTEL_SDK_DISABLED", "") == "true":
        return _nothing
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning(
            "traces_not_sent",
            detail=f"{' or '.join(_VARIABLES)} is set, but what sends traces is not installed. "
            "Install it (pip install 'milp-serve[otel]'), or unset the variable.",
        )
        return _nothing
    provider = new_provider(part)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def new_provider(part: str) -> TracerProvider:
    """What records spans, and keeps out of them what is not to leave the service. Needs the extra `otel`."""
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

    class Discreet(SpanProcessor):
        """FastAPI notes a request's path and query: a key may have come in the one, a text in the other."""

        def on_start(self, span: trace.Span, parent_context: object = None) -> None:  # noqa: ARG002
            noted: Mapping[str, object] = getattr(span, "attributes", None) or {}
            if "url.query" in noted:
                span.set_attribute("url.query", "REDACTED")
            if "url.path" in noted:
                span.set_attribute("url.path", without_secrets(str(noted["url.path"])))

    named = {SERVICE_NAME: f"milp-{part}"} | dict(OTELResourceDetector().detect().attributes)
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(Discreet())
    return provider


@contextmanager
def span(name: str, attributes: Attributes, *, within: str | None = None) -> Iterator[Span]:
    """What the block does, as a span; an error in it is named by its class, for its message may quote a text.

    Args:
        within: the span it is a part of, as `present_trace` gave it, perhaps in another process; None: the present one.
    """
    parent = _carrying.extract({_TRACE: within}) if within is not None else None
    with _tracer.start_as_current_span(
        name, parent, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as begun:
        try:
            yield begun
        except Exception as error:
            begun.set_attribute("error.type", type(error).__qualname__)
            begun.set_status(StatusCode.ERROR)
            raise


def past_span(name: str, began: float, ended: float, attributes: Attributes) -> None:
    """A part of the present span that is over already. Times are seconds since the epoch."""
    made = _tracer.start_span(name, attributes=attributes, start_time=round(began * _NANOSECONDS))
    made.end(round(ended * _NANOSECONDS))


def present_trace() -> str | None:
    """The present span as a W3C traceparent, None where nothing is traced."""
    carrier: dict[str, str] = {}
    _carrying.inject(carrier)
    return carrier.get(_TRACE)


def _nothing() -> None:
    pass
