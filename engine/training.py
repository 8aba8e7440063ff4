"""Training many candidates at once on the one frozen base.

Each candidate has its own batches, parameters, loss, clipping and learning rate, so that what it learns does not depend
on its company (MiLP, section 3.4: AdamW, linear warm-up, loss on response tokens; here prompts may count too). Must
not know the search, trials or stores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import count
from weakref import WeakKeyDictionary

from engine.base import Base
from engine.cores import CORES
from engine.course import Course, Material
from engine.joint import Joint
from engine.lanes import spread
from engine.learner import Candidate, TrainedCandidate, TrainingSettings
from engine.party import Party, Progress
from engine.stack import parameter_count

__all__ = [
    "Candidate",
    "Course",
    "TrainedCandidate",
    "TrainingSettings",
    "has_room",
    "train_candidates",
    "train_group",
]

_joint: WeakKeyDictionary[Base, Joint] = WeakKeyDictionary()
"""On an accelerator, what is trained on each base at present."""


def has_room(base: Base) -> bool:
    """Whether candidates are in training in this process, and more beside them would use what they leave idle."""
    if base.device.type == "cpu":
        return CORES.are_idle
    return base in _joint and _joint[base].has_room


def train_candidates(
    base: Base,
    candidates: Sequence[Candidate],
    course: Course,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[int, int], None] | None = None,
) -> list[TrainedCandidate]:
    """Train every candidate on the same history, as suits the device (engine.lanes): in lanes, or in one batch with
    whatever else is trained in this process.

    Args:
        should_stop: asked before every step.
        on_step: called after every step with (candidate-steps done, candidate-steps in all), one call at a time.

    Returns:
        One result per candidate, in their order; the base itself (no active layer) is an empty stack. One for which
        memory does not suffice, even alone, has none.

    Raises:
        TrainingStoppedError: `should_stop` said so; nothing is returned.
    """
    material = Material.of(base, course)
    trained_ones = sum(not candidate.configuration.is_base for candidate in candidates)
    progress, calls = Progress(material.steps * trained_ones, on_step), count()

    def work(group: Sequence[Candidate], should_stop: Callable[[], bool]) -> list[TrainedCandidate]:
        on_cpu = base.device.type == "cpu"
        joint = Joint() if on_cpu else _joint.setdefault(base, Joint())
        # Not the first call: memory did not suffice for all.
        alone = not on_cpu and next(calls) > 0
        return joint.train(Party(base, material, group, len(group), should_stop, progress, alone=alone))

    # In lanes the longest go first, so that no lane is left with one when the others have ended.
    order = sorted(range(len(candidates)), key=lambda i: -_work(base, candidates[i]))
    trained = spread(base, [candidates[i] for i in order], work, should_stop, _too_large)
    done = dict(zip(order, trained, strict=True))
    return [done[i] for i in range(len(candidates))]


def train_group(
    base: Base,
    candidates: Sequence[Candidate],
    course: Course,
    *,
    places: int,
    on_step: Callable[[int, int], None] | None = None,
) -> list[TrainedCandidate]:
    """Train candidates in one batch: one forward and backward of the base over at most `places` of them at a time."""
    material = Material.of(base, course)
    progress = Progress(material.steps * len(candidates), on_step)
    return Joint().train(Party(base, material, candidates, places, lambda: False, progress))


def _too_large(candidate: Candidate) -> TrainedCandidate:
    error, moment = "memory does not suffice for it, even alone", time.time()
    return TrainedCandidate(candidate.key, None, [], 0, moment, moment, 0.0, complete=False, error=error, fits=False)


def _work(base: Base, candidate: Candidate) -> float:
    """About how much a candidate computes: the base's layers that run for it, and its own parameters."""
    configuration = candidate.configuration
    if configuration.is_base:
        return 0.0
    layers = base.n_layers - configuration.active_layers[0]
    # A parameter of the stack costs three products, one of the base two; a layer has some 12 hidden sizes squared.
    own = 1.5 * parameter_count(base.projections, configuration)
    return 12.0 * base.hidden_size**2 * layers + own
