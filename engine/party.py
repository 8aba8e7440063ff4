"""Candidates of one course in training: who of them has a place, and what happens at the end of a pass.

Must not know who else is trained beside them, nor how a step is made.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from threading import Lock

from engine.base import Base
from engine.course import Material
from engine.errors import TrainingStoppedError
from engine.learner import Candidate, Learner, TrainedCandidate
from engine.stack import Stack


@dataclass
class Progress:
    """Counts candidate-steps of all parties of one call; a step that an early stop saves counts as done."""

    total: int
    tell: Callable[[int, int], None] | None
    done: int = 0
    lock: Lock = field(default_factory=Lock)

    def add(self, steps: int) -> None:
        with self.lock:
            self.done += steps
            if self.tell is not None:
                self.tell(self.done, self.total)

    def take_back(self, steps: int) -> None:
        with self.lock:
            self.done -= steps


class Party:
    """Candidates that are trained together.

    Args:
        places: how many of them are trained at a time; one that ends leaves its place to the next that waits.
        alone: whether nothing may be trained beside them.
        should_stop: asked before every step.
    """

    def __init__(
        self,
        base: Base,
        material: Material,
        candidates: Sequence[Candidate],
        places: int,
        should_stop: Callable[[], bool],
        progress: Progress,
        *,
        alone: bool = False,
    ) -> None:
        course, examples = material.course, len(material.train.examples)
        self.base = base
        self.material = material
        self.alone = alone
        self.error: BaseException | None = None
        self._places = places
        self._should_stop = should_stop
        self._progress = progress
        self._counted = 0
        self._began_at, self._began = time.time(), time.perf_counter()
        self._learners = [
            Learner(base, c, course.settings, examples, course.order_seed, course.passes) for c in candidates
        ]
        self._waiting = deque(learner for learner in self._learners if not learner.done)
        self._running: list[Learner] = []

    @property
    def ended(self) -> bool:
        return self.error is not None or not (self._waiting or self._running)

    def check(self) -> None:
        """Raises: TrainingStoppedError, the caller wants it to end."""
        if self._should_stop():
            raise TrainingStoppedError("training was stopped")

    def next(self) -> list[Learner]:
        """Who makes the next step."""
        while self._waiting and len(self._running) < self._places:
            self._running.append(self._waiting.popleft())
        return list(self._running)

    def after_step(self) -> None:
        """What a step that those who were running have made brings with it."""
        self._count(len(self._running))
        self._end_pass([learner for learner in self._running if learner.at_end_of_pass])
        self._running = [learner for learner in self._running if not learner.done]

    def fail(self, error: BaseException) -> None:
        """Nothing more is made of it. Its candidates may be trained once more, in smaller parties."""
        self.error = error
        self._progress.take_back(self._counted)

    def results(self) -> list[TrainedCandidate]:
        """What became of each. Raises: what it failed with."""
        if self.error is not None:
            error, self.error = self.error, None
            try:
                raise error
            finally:
                # Nothing here keeps it and, by its frames, a device's memory: there is to be room for another try.
                del error
        seconds = (time.perf_counter() - self._began) / max(1, len(self._learners))
        ended_at = time.time()
        return [one.result(self.base.dtype, self._began_at, ended_at, seconds) for one in self._learners]

    def _end_pass(self, learners: Sequence[Learner]) -> None:
        """Score those that ended their last pass, all together, and ask of each of the others whether it goes on."""
        at_end = [learner for learner in learners if learner.done]
        self._score(at_end)
        self._judge([learner for learner in learners if learner not in at_end])

    def _score(self, learners: Sequence[Learner]) -> None:
        validation, stacks = self.material.course.validation, self._stacks(learners)
        if validation is None or not stacks:
            return
        found = validation.score(list(stacks.values()), self._should_stop)
        for learner, scores in zip(stacks, found, strict=True):
            learner.curve.append(fmean(scores.loss))
            learner.scores = scores

    def _judge(self, learners: Sequence[Learner]) -> None:
        course, stacks = self.material.course, self._stacks(learners)
        if course.validation is None or not stacks:
            return
        found = course.validation.losses(list(stacks.values()), self._should_stop)
        for learner, losses in zip(stacks, found, strict=True):
            learner.curve.append(fmean(losses))
            if not course.go_on(learner.candidate, learner.curve):
                self._count(learner.steps_left)
                learner.stop()

    def _stacks(self, learners: Sequence[Learner]) -> dict[Learner, Stack]:
        """Their present stacks, without those that diverged."""
        return {learner: stack for learner in learners if (stack := learner.stack(self.base.dtype)) is not None}

    def _count(self, steps: int) -> None:
        self._counted += steps
        self._progress.add(steps)
