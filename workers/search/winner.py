"""Which trial a search publishes. Plain arithmetic; loads nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.pareto import pareto_front
from workers.search.observations import Observation

CONFIDENCE_Z = 1.0
"""Standard errors below the mean at which ROUGE-L is judged: the one-sided 84 % bound. Validation has few samples,
and the best of many noisy means is mostly luck."""


@dataclass(frozen=True, slots=True)
class Winner:
    """The trial to publish.

    Args:
        index: its place in the observations; None when the base wins and is not among them.
        reason: why, in one sentence.
        is_base: whether the base itself won, so that there is nothing to publish.
    """

    index: int | None
    reason: str
    is_base: bool = False


def lower_bound(observation: Observation) -> float:
    """Lower confidence bound of ROUGE-L, 0..100."""
    return observation.rouge_l - CONFIDENCE_Z * observation.rouge_l_se


def choose_winner(observations: Sequence[Observation], base: Observation) -> Winner:
    """The point of the Pareto front with the best lower bound of ROUGE-L whose loss is not worse than the base's.

    Ties go to fewer parameters, then to the lower loss, then to the earlier trial. The base takes part: it
    wins where no trial beats it in both objectives and none on the front has a better bound, so something always wins.

    Args:
        observations: the finished trials, in order, with or without the base.
        base: the base's own scores.
    """
    trials = [o for o in observations if not o.configuration.is_base]
    runners = [base, *trials]
    front = pareto_front(runners)
    allowed = [i for i in front if runners[i].loss <= base.loss]
    best = min(allowed, key=lambda i: (-lower_bound(runners[i]), runners[i].parameters, runners[i].loss, i))
    bound = f"lower bound of ROUGE-L {lower_bound(runners[best]):.2f}"
    if best == 0:
        index = next((i for i, o in enumerate(observations) if o.configuration.is_base), None)
        return Winner(
            index,
            f"The base itself: {bound}; no trial on the Pareto front with a loss of at most {base.loss:.3f} has more.",
            is_base=True,
        )
    winner = runners[best]
    tied = sum(lower_bound(runners[i]) == lower_bound(winner) for i in allowed) > 1
    reason = (
        f"Best {bound} ({winner.rouge_l:.2f} less its standard error {winner.rouge_l_se:.2f}) of the {len(front)} "
        f"on the Pareto front, with a loss of {winner.loss:.3f}, not worse than the base's {base.loss:.3f}"
        f"{'; fewest parameters of those tied' if tied else ''}."
    )
    return Winner(next(i for i, o in enumerate(observations) if o is winner), reason)
