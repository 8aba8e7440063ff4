"""Traces of requests and answers: what is in them, what is not, and that nothing is needed where nobody wants them."""

from __future__ import annotations

import json
import sys
import time
from itertools import pairwise
from typing import Any

import pytest
from opentelemetry.trace import SpanKind
from starlette.testclient import TestClient

from app import tracing
from app.main import create_app
from app.settings import Settings
from app.tracing import start_tracing
from engine.base import Base
from tests.support.api import Service, figure, pairs, publish
from tests.support.keys import AUTH, make_key
from tests.support.spans import Spans, parent_of

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_traced_through_its_phases_and_timed(
    answering: Service, small_base: Base, spans: Spans, stream: bool
) -> None:
    user = f"traced-{stream}"
    version = publish(answering, small_base, user)
    asked = {"query": "how is the xyzzymark?", "stream": stream}
    answering.http.post(f"/v1/users/{user}/responses", json=asked, headers=PARENT).raise_for_status()
    # The request's own span ends after the client has its answer.
    (request,) = wait_for(spans, "POST /v1/users/{user_id}/responses")
    phases = [spans.named(f"answer {phase}") for phase in ("load", "queue", "prefill", "decode")]
    assert [len(found) for found in phases] == [1, 1, 1, 1]
    in_order = [found[0] for found in phases]
    assert {parent_of(span) for span in in_order} == {request.context.span_id}
    assert f"{request.context.trace_id:032x}" == TRACE
    assert in_order[0].attributes["milp.version"] == version.id
    assert all(before.end_time == after.start_time for before, after in pairwise(in_order))
    assert "xyzzymark" not in everything_in(spans)
    for phase in ("load", "decode"):
        assert float(figure(answering, f'milp_answer_seconds_count{{phase="{phase}"}}')) >= 1


def test_no_key_and_no_query_string_is_traced_and_what_machines_ask_is_not_at_all(
    api: TestClient, api_settings: Settings, spans: Spans
) -> None:
    key = make_key(api.app_state["services"].database).text
    api.get(f"/v1/users/{key}", params={"cursor": "xyzzymark"})
    for quiet in ("/livez", "/readyz", "/metrics"):
        api.get(quiet)
    (request,) = [span for span in spans.all() if span.kind == SpanKind.SERVER]
    assert request.name == "GET /v1/users/{user_id}"
    assert request.attributes["url.query"] == "REDACTED"
    assert key[-63:] not in everything_in(spans)
    assert "xyzzymark" not in everything_in(spans)


def test_an_error_is_named_by_its_class_alone(spans: Spans) -> None:
    with pytest.raises(ValueError, match="xyzzymark"), tracing.span("broken", {}):
        raise ValueError("xyzzymark")
    (broken,) = spans.named("broken")
    assert broken.attributes["error.type"] == "ValueError"
    assert broken.status.is_ok is False
    assert "xyzzymark" not in everything_in(spans)


def test_where_nobody_collects_them_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    assert start_tracing("api")() is None


def test_without_the_extra_the_service_runs_and_says_what_to_install(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    without_base = settings.model_copy(update={"base_model": str(settings.data_dir / "none")})
    with TestClient(create_app(without_base), headers=AUTH) as client:
        client.post("/v1/users/ann/history", json={"samples": pairs(25)}).raise_for_status()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (said,) = [line for line in lines if line["event"] == "traces_not_sent"]
    assert "milp-serve[otel]" in said["detail"]


def wait_for(spans: Spans, name: str) -> list[Any]:
    deadline = time.monotonic() + 60
    while not (found := spans.named(name)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def everything_in(spans: Spans) -> str:
    return "".join(span.to_json() for span in spans.all())
