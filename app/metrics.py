"""Prometheus figures of one API process, in a registry of its own so that two apps in a process do not mix.

Labels are few and bounded: route templates, never paths or user ids.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import get_args

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.answers.wire import Figures
from app.errors import AdapterUnusableError, StoreFailedError
from app.job_states import JobStatus
from app.repositories.tallies import LABELS, Counted, Sum
from engine.timeline import Phase

CONTENT_TYPE = CONTENT_TYPE_LATEST
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""From a look-up in the database to a long streamed answer on a CPU."""


_NO_TALLIES = {what: dict.fromkeys(labels, Sum(0)) for what, labels in LABELS.items()}


class _KeptElsewhere(Collector):
    """Counters that others keep: they are read when somebody looks, and never raised here."""

    def __init__(self) -> None:
        self.evictions = self.engine_starts = 0
        self.tallies: Mapping[Counted, Mapping[str, Sum]] = _NO_TALLIES

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily("milp_bank_evictions", "Stacks dropped for others to be loaded.", self.evictions)
        yield CounterMetricFamily("milp_engine_starts", "Starts of the answering engine.", self.engine_starts)
        trials = CounterMetricFamily("milp_trials", "Trials ended, by how; all tenants.", labels=["state"])
        gate = CounterMetricFamily("milp_gate_decisions", "Versions put to the gate; all tenants.", labels=["decision"])
        for family, what in ((trials, Counted.trial), (gate, Counted.gate)):
            for label, total in self.tallies[what].items():
                family.add_metric([label], total.count)
            yield family
        phases = SummaryMetricFamily("milp_phase_seconds", "What workers spent on steps, by phase.", labels=["phase"])
        for label, total in self.tallies[Counted.phase].items():
            phases.add_metric([label], count_value=total.count, sum_value=total.seconds)
        yield phases


class Metrics:
    """Counters that the routes raise, and gauges that are set when somebody looks."""

    def __init__(self) -> None:
        self._registry = r = CollectorRegistry()
        self._requests = Counter("milp_http_requests", "Requests answered.", ["method", "route", "status"], registry=r)
        self._seconds = Histogram(
            "milp_http_request_seconds",
            "Time until an answer was sent completely.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=r,
        )
        self._answers = Counter("milp_answers", "Answers generated, by the mode used.", ["mode"], registry=r)
        self._fallbacks = Counter(
            "milp_answer_fallbacks", "Answers without the active version, for it was unusable.", ["code"], registry=r
        )
        self._tokens = Counter("milp_tokens", "Tokens read (prompt) and generated (completion).", ["kind"], registry=r)
        self._unshared = Counter(
            "milp_limits_unshared", "Limits counted by this process alone, for Redis was away.", registry=r
        )
        self._deliveries = Counter(
            "milp_webhook_deliveries",
            "Attempts at deliveries of webhooks: delivered, postponed, given_up, or lost to another sender.",
            ["outcome"],
            registry=r,
        )
        self._phases = Histogram(
            "milp_answer_seconds",
            "What a complete answer waited for: load (its stack), queue, prefill, decode.",
            ["phase"],
            buckets=_SECONDS,
            registry=r,
        )
        self._jobs = Gauge("milp_jobs", "Jobs by status, all tenants.", ["status"], registry=r)
        self._steps = Gauge("milp_steps_waiting", "Steps of jobs that wait for a worker.", registry=r)
        self._database = Gauge("milp_database_up", "Whether the database answered this scrape.", registry=r)
        self._broker = Gauge("milp_broker_up", "Whether the broker answered this scrape.", registry=r)
        self._workers = Gauge("milp_workers", "Workers alive; NaN where the broker is away.", registry=r)
        self._waiting = Gauge("milp_answers_waiting", "Answers waiting for a place in the batch.", registry=r)
        self._running = Gauge("milp_answers_running", "Answers being decoded.", registry=r)
        self._bank = Gauge("milp_bank_stacks", "Stacks loaded onto the base.", registry=r)
        self._bank_places = Gauge("milp_bank_places", "Stacks that can be loaded at once.", registry=r)
        # A counter that appears when it is first raised has not risen, to Prometheus.
        for counter, labels in (
            (self._answers, ("personalized", "memory", "base")),
            (self._fallbacks, (AdapterUnusableError.code, StoreFailedError.code)),
            (self._tokens, ("prompt", "completion")),
            (self._phases, get_args(Phase)),
        ):
            for label in labels:
                counter.labels(label)
        self._kept_elsewhere = _KeptElsewhere()
        r.register(self._kept_elsewhere)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def count_answer(self, mode: str, prompt_tokens: int, completion_tokens: int) -> None:
        self._answers.labels(mode).inc()
        self._tokens.labels("prompt").inc(prompt_tokens)
        self._tokens.labels("completion").inc(completion_tokens)

    def time_answer(self, phase: Phase, seconds: float) -> None:
        self._phases.labels(phase).observe(seconds)

    def count_fallback(self, code: str) -> None:
        self._fallbacks.labels(code).inc()

    def count_unshared_limit(self) -> None:
        self._unshared.inc()

    def count_delivery(self, outcome: str) -> None:
        self._deliveries.labels(outcome).inc()

    def set_jobs(self, by_status: Mapping[JobStatus, int], steps_waiting: int) -> None:
        for status in JobStatus:
            self._jobs.labels(status.value).set(by_status.get(status, 0))
        self._steps.set(steps_waiting)

    def set_tallies(self, tallies: Mapping[Counted, Mapping[str, Sum]]) -> None:
        self._kept_elsewhere.tallies = tallies

    def set_workers(self, alive: int | None) -> None:
        """None: the broker is away."""
        self._broker.set(alive is not None)
        self._workers.set(math.nan if alive is None else alive)

    def set_database_up(self, up: bool) -> None:
        self._database.set(up)

    def set_answering(self, figures: Figures, places: int, engine_starts: int) -> None:
        self._waiting.set(figures.waiting)
        self._running.set(figures.running)
        self._bank.set(figures.stacks)
        self._bank_places.set(places)
        self._kept_elsewhere.evictions = figures.evictions
        self._kept_elsewhere.engine_starts = engine_starts

    def text(self) -> bytes:
        """The figures in Prometheus' text format."""
        return generate_latest(self._registry)
