"""What is seen from outside of a step's work: seconds by phase, and of each trial a log line and a span.

Ids and numbers only. Must not know what the work is for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog

from app import tracing
from app.repositories.tallies import Phase
from app.tables import Job, Trial
from engine.learner import TrainedCandidate

log = structlog.get_logger(__name__)


class Stopwatch:
    """Adds up a step's seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[Phase, float] = {}

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """The block is this phase: it is timed, and a span."""
        began = time.perf_counter()
        with tracing.span(phase, {}):
            yield
        self.add(phase, time.perf_counter() - began)

    def add(self, phase: Phase, seconds: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds

    def add_training(self, trained: Sequence[TrainedCandidate], seconds: float) -> None:
        """Seconds in which these were trained and scored, shared out as their own clocks say."""
        scoring = sum(candidate.scores.seconds for candidate in trained if candidate.scores is not None)
        whole = sum(candidate.seconds for candidate in trained)
        share = min(1.0, scoring / whole) if whole else 0.0
        self.add("train", seconds * (1 - share))
        self.add("generate", seconds * share)


def tell_of_trial(job: Job, trial: Trial, state: str, began: float, ended: float, passes: int) -> None:
    """Log a trial that was trained and scored, and make it a span of the step.

    Args:
        began, ended: seconds since the epoch. On an accelerator, those of one batch share them.
        passes: that it made.
    """
    seconds = ended - began
    log.info("trial_measured", trial=trial.number, state=state, passes=passes, seconds=round(seconds, 3))
    attributes: tracing.Attributes = {
        "milp.job": job.id,
        "milp.trial": trial.number,
        "milp.origin": trial.origin.value,
        "milp.layers": trial.layers,
        "milp.n": trial.n,
        "milp.r": trial.r,
        "milp.state": state,
        "milp.passes": passes,
        "milp.seconds": seconds,
    }
    tracing.past_span("trial", began, ended, attributes)
