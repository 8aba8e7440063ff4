"""What is learned, the same for both sides: one user's samples as ids, the settings, and the seeds.

Must not know who trains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from app.job_options import JobOptions
from app.settings import Settings
from benchmarks.material import History
from engine.base import Base
from engine.batches import Example
from engine.history import profile_samples
from engine.learner import Candidate, TrainingSettings
from engine.losses import encode_samples
from engine.metrics import mean_and_se
from engine.stack import parameter_count
from engine.training import Course
from workers.search.observations import Observation
from workers.steps.evaluate import training_settings

SEED = 20240
"""Of the searches and of the batches' order."""


@dataclass(frozen=True)
class Task:
    """One user's history to be learned on one base.

    Args:
        passes: over the train part, of each candidate.
        max_new_tokens: longest response to a validation sample.
        trials_per_step: candidates the service trains side by side.
    """

    base: Base
    history: History
    settings: TrainingSettings
    passes: int
    max_new_tokens: int
    trials_per_step: int

    @classmethod
    def of(cls, base: Base, history: History) -> Task:
        """As a job with the service's default options learns it, but every sample, as the peers do."""
        options = JobOptions(seed=SEED).resolve(Settings(_env_file=None, typical_share=1.0))
        settings = training_settings(options)
        return cls(base, history, settings, options.trial_passes, options.max_new_tokens, options.trials_per_step)

    def shorter(self, train_samples: int) -> Task:
        """One pass over some of the train part, without the profile: for figures per step."""
        split = replace(self.history.split, train=self.history.split.train[:train_samples])
        settings = replace(self.settings, epochs=1)
        return replace(self, history=replace(self.history, split=split, profile=""), settings=settings, passes=1)

    @property
    def course(self) -> Course:
        return Course(self.history.split.train, self.settings, self.history.profile, SEED, self.passes)

    @cached_property
    def examples(self) -> list[Example]:
        """The train part as the engine encodes it."""
        samples = [*profile_samples(self.history.profile), *self.history.split.train]
        return encode_samples(self.base, samples, self.settings.max_sequence_tokens)

    @cached_property
    def validation(self) -> list[Example]:
        return encode_samples(self.base, self.history.split.validation, self.settings.max_sequence_tokens)

    @property
    def steps(self) -> int:
        """Optimiser steps of one candidate."""
        return self.passes * self.settings.steps_a_pass(len(self.examples))


@dataclass(frozen=True)
class Scored:
    """What became of a candidate.

    Args:
        training: training loss of each step.
        loss, rouge_l: one of each validation sample.
        failed: it diverged.
    """

    candidate: Candidate
    training: Sequence[float]
    loss: Sequence[float]
    rouge_l: Sequence[float]
    failed: bool = False

    def observation(self, base: Base) -> Observation:
        """As the search sees it."""
        parameters = parameter_count(base.projections, self.candidate.configuration)
        return Observation(
            self.candidate.configuration, *mean_and_se(self.loss), *mean_and_se(self.rouge_l), parameters
        )
