"""What a Pareto front is worth: its hypervolume over loss (less is better) and ROUGE-L (more is better).

Plain arithmetic; loads nothing heavy.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.pareto import pareto_front
from workers.search.observations import Observation


def reference_point(observations: Sequence[Observation]) -> tuple[float, float]:
    """(loss, ROUGE-L) from which hypervolume is measured: the base's, or the worst of each where it is not yet known.

    Raises:
        ValueError: no observations.
    """
    if not observations:
        raise ValueError("a reference point needs at least one observation")
    for observation in observations:
        if observation.configuration.is_base:
            return observation.loss, observation.rouge_l
    return max(o.loss for o in observations), min(o.rouge_l for o in observations)


def hypervolume(observations: Sequence[Observation], reference: tuple[float, float]) -> float:
    """Area between the Pareto front and the reference point, in nats times ROUGE-L points.

    Only observations better than the reference in both objectives count.

    Args:
        observations: any number, also none.
        reference: (loss, ROUGE-L), see `reference_point`.
    """
    reference_loss, reference_rouge = reference
    inside = [o for o in observations if o.loss < reference_loss and o.rouge_l > reference_rouge]
    area, reached = 0.0, reference_rouge
    for i in pareto_front(inside):
        area += (reference_loss - inside[i].loss) * (inside[i].rouge_l - reached)
        reached = inside[i].rouge_l
    return area
