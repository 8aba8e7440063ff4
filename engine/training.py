"""Training many candidates at once on the one frozen base.

Each candidate has its own batches, parameters, loss, clipping and learning rate, so that what it learns does not depend
on its company (MiLP, section 3.4: AdamW, linear warm-up, loss on response tokens). One that is told to stop after a
pass leaves its place to the next. Must not know the search, trials or stores.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from threading import Lock

import torch

from engine.base import Base
from engine.batches import Batch
from engine.errors import TrainingStoppedError
from engine.evaluation import Examination
from engine.grouped import Route
from engine.history import Sample, profile_samples
from engine.lanes import spread
from engine.learner import Candidate, Learner, TrainedCandidate, TrainingSettings
from engine.losses import encode_samples, response_losses
from engine.lower_layers import LowerLayers
from engine.prompts import Prompting, query_alone
from engine.stack import Stack, parameter_count

__all__ = ["Candidate", "Course", "TrainedCandidate", "TrainingSettings", "train_candidates", "train_group"]

GoOn = Callable[[Candidate, Sequence[float]], bool]
"""Whether a candidate goes on, given its mean loss on validation after each pass so far."""


@dataclass(frozen=True)
class Course:
    """What the candidates of one user learn, and how.

    Args:
        train: the train part of the user's history; facts of `profile` are learned with it.
        order_seed: draws the batches; the same for all trials of a job.
        passes: after which each candidate ends; None: all the settings' epochs.
        validation: on which each candidate's loss is measured after every pass, and all scores after its last; None:
            nothing is.
        go_on: asked after every pass but the last, where there is a validation.
        prompt: how queries are put.
    """

    train: Sequence[Sample]
    settings: TrainingSettings
    profile: str = ""
    order_seed: int = 0
    passes: int | None = None
    validation: Examination | None = None
    go_on: GoOn = lambda _candidate, _curve: True
    prompt: Prompting = query_alone


@dataclass
class _Material:
    """A course's samples as ids, with what the lower layers make of them."""

    course: Course
    train: LowerLayers

    @classmethod
    def of(cls, base: Base, course: Course) -> _Material:
        longest = course.settings.max_sequence_tokens
        samples = [*profile_samples(course.profile), *course.train]
        return cls(course, LowerLayers(base, encode_samples(base, samples, longest, course.prompt)))

    @property
    def steps(self) -> int:
        """Optimiser steps of a candidate that goes to the end."""
        course = self.course
        passes = min(course.passes or course.settings.epochs, course.settings.epochs)
        return passes * course.settings.steps_a_pass(len(self.train.examples))


def train_candidates(
    base: Base,
    candidates: Sequence[Candidate],
    course: Course,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[int, int], None] | None = None,
) -> list[TrainedCandidate]:
    """Train every candidate on the same history, in one group or in lanes, as suits the device (engine.lanes).

    Args:
        should_stop: asked before every step.
        on_step: called after every step with (candidate-steps done, candidate-steps in all), one call at a time.

    Returns:
        One result per candidate, in their order; the base itself (no active layer) is an empty stack. One for which
        memory does not suffice, even alone, has none.

    Raises:
        TrainingStoppedError: `should_stop` said so; nothing is returned.
    """
    material = _Material.of(base, course)
    progress = _Progress(material.steps * sum(not candidate.configuration.is_base for candidate in candidates), on_step)

    def work(group: Sequence[Candidate], should_stop: Callable[[], bool]) -> list[TrainedCandidate]:
        return _Group(base, material, should_stop, progress).train(group, places=len(group))

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
    material = _Material.of(base, course)
    group = _Group(base, material, lambda: False, _Progress(material.steps * len(candidates), on_step))
    return group.train(candidates, places)


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


@dataclass
class _Progress:
    """Counts candidate-steps of all lanes; a step that an early stop saves counts as done."""

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


class _Group:
    """Candidates that share the base's forward and backward."""

    def __init__(self, base: Base, material: _Material, should_stop: Callable[[], bool], progress: _Progress) -> None:
        self._base = base
        self._material = material
        self._should_stop = should_stop
        self._progress = progress
        self._counted = 0

    def train(self, candidates: Sequence[Candidate], places: int) -> list[TrainedCandidate]:
        """Every candidate to its end; one that stops early leaves its place to the next that waits."""
        try:
            return self._train(candidates, places)
        except BaseException:
            # They may be trained once more, in smaller groups.
            self._progress.take_back(self._counted)
            raise

    def _train(self, candidates: Sequence[Candidate], places: int) -> list[TrainedCandidate]:
        began_at, began = time.time(), time.perf_counter()
        course, examples = self._material.course, self._material.train.examples
        learners = [
            Learner(self._base, c, course.settings, len(examples), course.order_seed, course.passes) for c in candidates
        ]
        waiting = deque(learner for learner in learners if not learner.done)
        running: list[Learner] = []
        while waiting or running:
            if self._should_stop():
                raise TrainingStoppedError("training was stopped")
            while waiting and len(running) < places:
                running.append(waiting.popleft())
            self._step(running)
            self._count(len(running))
            self._end_pass([learner for learner in running if learner.at_end_of_pass])
            running = [learner for learner in running if not learner.done]
        seconds = (time.perf_counter() - began) / max(1, len(learners))
        return [learner.result(self._base.dtype, began_at, time.time(), seconds) for learner in learners]

    def _step(self, learners: Sequence[Learner]) -> None:
        """One optimiser step of each learner, on the next batch of each."""
        chosen = [learner.next_batch() for learner in learners]
        batches = [self._material.train.batch(indices) for indices in chosen]
        together = Batch.end_to_end(batches).to(self._base.device)
        route = Route.of((len(b.ids), learner.a, learner.b) for b, learner in zip(batches, learners, strict=True))
        lowest = min(learner.first_layer for learner in learners)
        span = self._material.train.span(lowest, [i for indices in chosen for i in indices])
        losses = response_losses(self._base, route, together, span).split([len(b.targets) for b in batches])
        means = torch.stack([loss.mean() for loss in losses])
        values = means.detach().tolist()
        healthy = [learner.note(value) for learner, value in zip(learners, values, strict=True)]
        if any(healthy):
            means[torch.tensor(healthy, device=means.device)].sum().backward()
        for learner, is_healthy in zip(learners, healthy, strict=True):
            if is_healthy:
                learner.update()

    def _end_pass(self, learners: Sequence[Learner]) -> None:
        """Score those that ended their last pass, all together, and ask of each of the others whether it goes on."""
        at_end = [learner for learner in learners if learner.done]
        self._score(at_end)
        self._judge([learner for learner in learners if learner not in at_end])

    def _score(self, learners: Sequence[Learner]) -> None:
        validation, stacks = self._material.course.validation, self._stacks(learners)
        if validation is None or not stacks:
            return
        found = validation.score(list(stacks.values()), self._should_stop)
        for learner, scores in zip(stacks, found, strict=True):
            learner.curve.append(fmean(scores.loss))
            learner.scores = scores

    def _judge(self, learners: Sequence[Learner]) -> None:
        course, stacks = self._material.course, self._stacks(learners)
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
        return {learner: stack for learner in learners if (stack := learner.stack(self._base.dtype)) is not None}

    def _count(self, steps: int) -> None:
        self._counted += steps
        self._progress.add(steps)
