"""What candidates of one user learn, and how: their samples, their settings, and what they are scored on.

Must not know candidates in training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.base import Base
from engine.batches import Batch, lay_out
from engine.evaluation import Examination
from engine.history import Sample, profile_samples
from engine.learner import Candidate, TrainingSettings
from engine.losses import encode_samples
from engine.lower_layers import LowerLayers
from engine.prompts import Prompting, query_alone
from engine.typical import most_typical

GoOn = Callable[[Candidate, Sequence[float]], bool]
"""Whether a candidate goes on, given its mean loss on validation after each pass so far."""


@dataclass(frozen=True)
class Course:
    """What the candidates of one user learn, and how.

    Args:
        train: the train part of the user's history, of which the settings' share is learned; facts of `profile` are
            learned with it.
        order_seed: draws the batches, the same for all candidates but those with an order of their own.
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
class Material:
    """A course's samples as ids, with what the lower layers make of them."""

    course: Course
    train: LowerLayers

    @classmethod
    def of(cls, base: Base, course: Course) -> Material:
        longest, share = course.settings.max_sequence_tokens, course.settings.typical_share
        chosen = most_typical([sample.response for sample in course.train], share)
        samples = [*profile_samples(course.profile), *(course.train[place] for place in chosen)]
        return cls(course, LowerLayers(base, encode_samples(base, samples, longest, course.prompt)))

    def batch(self, chosen: Sequence[int]) -> Batch:
        """The chosen examples as they are learned."""
        return lay_out([self.train.examples[i] for i in chosen], self.course.settings.prompt_loss_weight)

    @property
    def steps(self) -> int:
        """Optimiser steps of a candidate that goes to the end."""
        course = self.course
        passes = min(course.passes or course.settings.epochs, course.settings.epochs)
        return passes * course.settings.steps_a_pass(len(self.train.examples))
