"""What the gate decides about a winner: on the validation part, and where that leaves it open on a second one.

A fifth of a history is few samples, and the winner was chosen by them. Where they do not decide, the winner is
rehearsed once more with other samples held out, by which nothing was chosen, and the gate judges by both. Must not know
the test part or the store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.job_options import ResolvedOptions
from engine.evaluation import Evaluation
from engine.training import Candidate
from workers.context import Context
from workers.search.gate import GateDecision, decide
from workers.steps.history import JobHistory
from workers.steps.measure import Measure
from workers.steps.rehearsal import rehearse
from workers.steps.telemetry import Stopwatch


@dataclass(frozen=True)
class Verdict:
    """What was decided.

    Args:
        rehearsal: the winner's scores on the validation part.
    """

    decision: GateDecision
    rehearsal: Evaluation


@dataclass(frozen=True)
class _Heard:
    """Scores of all three on the same held-out samples."""

    winner: Evaluation
    base_rouge: Sequence[float]
    memory_rouge: Sequence[float]


class Gate:
    """The gate of one job.

    Args:
        watch: is told how long training and answering took.
        should_stop: asked between steps and tokens; then TrainingStoppedError is raised.
    """

    def __init__(
        self, context: Context, options: ResolvedOptions, watch: Stopwatch, should_stop: Callable[[], bool]
    ) -> None:
        self._context = context
        self._options = options
        self._watch = watch
        self._should_stop = should_stop

    def judge(self, history: JobHistory, winner: Candidate, base_rouge: Sequence[float]) -> Verdict:
        """Decide about the winner.

        Args:
            base_rouge: ROUGE-L of the base on the validation part, 0..100, which the search has measured.

        Raises:
            StepFailedError, DoesNotFitError, TrainingStoppedError: see `rehearse`.
        """
        first = self._hear(history, winner, base_rouge)
        decision = self._decide([first])
        if decision.is_open:
            decision = self._decide([first, self._hear(history.turned(), winner)])
        return Verdict(decision, first.winner)

    def _hear(self, history: JobHistory, winner: Candidate, base_rouge: Sequence[float] | None = None) -> _Heard:
        held_out = history.split.validation
        measure = Measure(self._context, history, self._options, self._should_stop)
        with self._watch.during("train"):
            rehearsal = rehearse(self._context, measure, history, self._options, winner, self._should_stop)
        with self._watch.during("generate"):
            if base_rouge is None:
                (base,) = measure.stacks([None], held_out)
                base_rouge = base.rouge_l
            memory = measure.memory(held_out, history.split.train)
        return _Heard(rehearsal, base_rouge, memory.rouge_l)

    def _decide(self, heard: Sequence[_Heard]) -> GateDecision:
        return decide(
            [score for each in heard for score in each.winner.rouge_l],
            [score for each in heard for score in each.base_rouge],
            [score for each in heard for score in each.memory_rouge],
            self._options.gate_confidence,
        )
