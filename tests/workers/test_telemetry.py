"""A job seen from outside: one trace from its request to its trials, log lines with ids, and figures that stay."""

from __future__ import annotations

import json
import logging
from contextlib import closing, redirect_stderr
from io import StringIO
from typing import Any

import pytest
import structlog
from opentelemetry.trace import SpanKind
from starlette.testclient import TestClient

from app.logging import configure_logging
from app.main import create_app
from tests.support.keys import AUTH
from tests.support.spans import Spans, parent_of
from tests.workers.helpers import run_all, samples
from workers.context import Context
from workers.runner import WORK, run_step

REQUEST = "asked-by-the-test"


@pytest.fixture
def job_of_a_request(context: Context, spans: Spans) -> tuple[str, TestClient]:
    """The id of a job that a request has caused and this process has worked on to its end, and the API."""
    settings = context.settings.model_copy(update={"base_model": str(context.settings.data_dir / "none")})
    sent = [{"query": s.query, "response": s.response} for s in samples()]
    with TestClient(create_app(settings), headers=AUTH) as client:
        body = {"samples": sent, "options": {"trials": 2, "epochs": 1, "seed": 7}}
        answer = client.post("/v1/users/ada/history", json=body, headers={"X-Request-Id": REQUEST})
        run_all(context)
        yield answer.json()["job"]["id"], client


def test_from_a_request_over_the_queue_to_its_trials_it_is_one_trace(
    job_of_a_request: tuple[str, TestClient], spans: Spans
) -> None:
    job, _ = job_of_a_request
    (request,) = [span for span in spans.all() if span.kind == SpanKind.SERVER]
    steps = [span for span in spans.all() if span.name.startswith("step ")]
    assert [span.name for span in steps] == ["step plan", "step evaluate", "step plan", "step publish"]
    assert {parent_of(span) for span in steps} == {request.context.span_id}
    assert {(span.attributes["milp.job"], span.attributes["milp.ended"]) for span in steps} == {(job, "done")}
    trials = {span.attributes["milp.trial"]: span for span in spans.named("trial")}
    assert {parent_of(span) for span in trials.values()} == {steps[1].context.span_id}
    assert {span.context.trace_id for span in (*steps, *trials.values())} == {request.context.trace_id}
    default = trials[1].attributes
    assert (default["milp.layers"], default["milp.n"], default["milp.r"]) == ("111", 1, 16)
    assert (default["milp.passes"], default["milp.state"]) == (1, "succeeded")
    assert default["milp.seconds"] * 1e9 == pytest.approx(trials[1].end_time - trials[1].start_time, abs=1000)
    assert {span.name for span in spans.all() if parent_of(span) == steps[3].context.span_id} >= {"generate", "train"}
    whole = "".join(span.to_json() for span in spans.all())
    assert not any(text in whole for sample in samples() for text in (sample.query, sample.response))


def test_every_line_of_a_job_has_the_ids_of_request_job_and_step_and_a_trials_its_own(
    capsys: pytest.CaptureFixture[str], job_of_a_request: tuple[str, TestClient]
) -> None:
    job, _ = job_of_a_request
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    of_job = [line for line in lines if line.get("job") == job]
    assert {line["request_id"] for line in of_job} == {REQUEST}
    assert {line["kind"] for line in of_job if line["event"] == "step_done"} == {"plan", "evaluate", "publish"}
    assert all(line["step"] for line in of_job)
    trials = [(line["trial"], line["state"]) for line in of_job if line["event"] == "trial_measured"]
    assert trials == [(0, "succeeded"), (1, "succeeded")]
    # By the trace's id, whoever has a line finds the trace.
    (request,) = [line for line in lines if line["event"] == "request"]
    assert {line["trace_id"] for line in of_job} == {request["trace_id"]}


def test_the_api_tells_what_workers_did_when_none_is_there_any_more(job_of_a_request: tuple[str, TestClient]) -> None:
    _, client = job_of_a_request
    figures = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
    assert figures['milp_trials_total{state="succeeded"}'] == "2.0"
    decisions = [
        float(figures[f'milp_gate_decisions_total{{decision="{d}"}}']) for d in ("passed", "refused", "base_won")
    ]
    assert sum(decisions) == 1
    counts = {
        phase: float(figures[f'milp_phase_seconds_count{{phase="{phase}"}}']) for phase in ("plan", "train", "generate")
    }
    assert counts == {"plan": 2, "train": 2, "generate": 2}
    assert all(float(figures[f'milp_phase_seconds_sum{{phase="{phase}"}}']) > 0 for phase in counts)


def test_a_step_that_fails_is_a_span_that_says_so(
    context: Context, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.job_states import StepKind
    from tests.workers.helpers import add_job, add_person, due

    def broken(*_: Any) -> Any:
        raise RuntimeError("quotes xyzzymark")

    monkeypatch.setitem(WORK, StepKind.plan, broken)
    add_person(context.database)
    add_job(context.database, context.settings)
    assert run_step(context, due(context.database)[0])
    (span,) = spans.named("step plan")
    assert span.attributes["milp.ended"] == "to_be_retried"
    assert "xyzzymark" not in span.to_json()


def test_lines_of_libraries_are_like_the_services_own_without_keys_and_rows(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug")
    key = f"milp_{'a' * 24}_{'b' * 64}"
    logging.getLogger("celery.worker").info("told %s", key)
    logging.getLogger("sse_starlette.sse").info("chunk: somebody's answer")
    try:
        raise RuntimeError("why")
    except RuntimeError:
        logging.getLogger("kombu").exception("broke")
    told, broke = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (told["level"], told["logger"], told["event"]) == ("info", "celery.worker", f"told milp_{'a' * 24}_…")
    assert (broke["level"], "RuntimeError: why" in broke["exception"]) == ("error", True)


def test_lines_go_on_when_the_stderr_of_whoever_set_them_up_is_closed(capsys: pytest.CaptureFixture[str]) -> None:
    with closing(StringIO()) as first, redirect_stderr(first):
        configure_logging("info")
    structlog.get_logger().info("ours")
    logging.getLogger("celery").info("theirs")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["ours", "theirs"]
