"""The report a job ends with, as plain JSON: who won and why, what the gate decided, what the test part says.

Pure: scores in, dictionaries out. Must not know the database, the store or the base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from app.job_states import TrialOrigin
from app.tables import Trial
from engine.metrics import bootstrap_interval
from engine.pareto import pareto_front
from workers.failures import StepFailedError
from workers.search.gate import GateDecision
from workers.search.winner import choose_winner
from workers.steps.trials import observation_of

if TYPE_CHECKING:
    from engine.evaluation import Evaluation


@dataclass(frozen=True)
class Finalists:
    """The trials a report compares.

    Args:
        winner: the trial to publish; the base's own if that won.
        reason: why, in one sentence.
        base: trial number 0.
        default: the one default LoRA, None where it did not fit the space or diverged.
        pareto: numbers of the trials on the Pareto front.
    """

    winner: Trial
    reason: str
    base: Trial
    default: Trial | None
    pareto: list[int]

    @property
    def base_won(self) -> bool:
        return self.winner.number == self.base.number


def choose_finalists(finished: Sequence[Trial]) -> Finalists:
    """The winner among the trials that succeeded, and those it is compared with.

    Raises:
        StepFailedError: the base is not among them, for its loss was not finite.
    """
    base = next((trial for trial in finished if trial.origin == TrialOrigin.base), None)
    if base is None:
        raise base_failed()
    observations = [observation_of(trial) for trial in finished]
    winner = choose_winner(observations, observation_of(base))
    return Finalists(
        winner=base if winner.is_base or winner.index is None else finished[winner.index],
        reason=winner.reason,
        base=base,
        default=next((trial for trial in finished if trial.origin == TrialOrigin.default), None),
        pareto=[finished[i].number for i in pareto_front(observations)],
    )


def base_failed(part: str = "validation") -> StepFailedError:
    """Why a job whose base has no scores on a part of the history cannot go on: nothing compares with it."""
    return StepFailedError(
        "base_failed",
        f"The base model has no finite loss on the {part} samples, so there is nothing to compare trials with. "
        "Its numbers most likely overflow: set MILP_DTYPE=float32, then start the job again.",
    )


def build_report(
    finalists: Finalists,
    passes: int | None,
    decision: GateDecision | None,
    confidence: float,
    activated: bool,
    stop_reason: str,
    test: Mapping[str, Mapping[str, Any]],
    samples: Mapping[str, int],
) -> dict[str, Any]:
    """The whole report. `decision` is None where the base itself won: there is nothing to put to the gate."""
    winner = finalists.winner
    return {
        "winner": {
            "trial": winner.number,
            "layers": winner.layers,
            "n": winner.n,
            "r": winner.r,
            "reason": finalists.reason,
        },
        "passes": passes,
        "gate": {
            "passed": decision is not None and decision.passed,
            "reason": decision.reason
            if decision
            else "The base itself won the search, so there is nothing to activate.",
            "confidence": confidence,
            "samples": decision.samples if decision else None,
            "against_base": asdict(decision.against_base) if decision else None,
            "against_memory": asdict(decision.against_memory) if decision else None,
        },
        "activated": activated,
        "stop_reason": stop_reason,
        "test": {method: dict(scores) for method, scores in test.items()},
        "samples": dict(samples),
        "pareto": finalists.pareto,
    }


def with_intervals(scores: Evaluation) -> dict[str, dict[str, float]]:
    """Mean and 95 % bootstrap interval of each metric: ROUGE-1, ROUGE-L and Persona F1 (0 to 100), loss (nats)."""
    return {
        "rouge_1": asdict(bootstrap_interval(scores.rouge_1)),
        "rouge_l": asdict(bootstrap_interval(scores.rouge_l)),
        "persona_f1": asdict(bootstrap_interval(scores.persona_f1)),
        "loss": asdict(bootstrap_interval(scores.loss)),
    }
