"""One candidate in training: its parameters, its batches, its optimiser and its losses.

Nothing here looks at another candidate. Must not know how many train side by side, or where the base runs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.base import Base
from engine.configuration import Configuration
from engine.evaluation import Evaluation
from engine.stack import Stack, active_projections


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a candidate is trained.

    Args:
        warmup_fraction: a share of all steps; then the rate stays (paper, 3.4).
        prompt_loss_weight: what the mean loss of the prompts' tokens counts for beside that of the responses'; 0, the
            paper's, learns responses alone.
        label_smoothing: share of each target that is spread evenly over the vocabulary, so that what is learned by
            heart is not taken for certain.
        typical_share: share of the samples that is learned: those whose responses are most like the others'.
    """

    learning_rate: float
    weight_decay: float
    warmup_fraction: float
    batch_size: int
    epochs: int
    max_gradient_norm: float
    max_sequence_tokens: int
    prompt_loss_weight: float = 0.0
    label_smoothing: float = 0.0
    typical_share: float = 1.0

    def steps_a_pass(self, examples: int) -> int:
        return -(-examples // self.batch_size)

    def steps(self, examples: int) -> int:
        """Optimiser steps of a whole training on so many examples."""
        return self.epochs * self.steps_a_pass(examples)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One configuration to train.

    Args:
        seed: draws its A's.
        order_seed: draws its batches; None: as the course's others have them.
    """

    key: str
    configuration: Configuration
    seed: int
    order_seed: int | None = None


@dataclass(frozen=True)
class TrainedCandidate:
    """What became of a candidate.

    Args:
        stack: None if it diverged or did not fit; then `error` says how.
        losses: what each step lowers, nats a token: prompts' loss and smoothing included where there are any.
        began, ended: when it was in training, seconds since the epoch; those of one batch share them.
        seconds: what training and scoring it took, shared out among those of its batch.
        curve: mean loss on validation after each pass, nats a token; empty where none was measured.
        scores: on validation after its last pass; None where it diverged or was stopped, or nothing was to be scored.
        complete: whether it trained all its passes.
        fits: whether memory sufficed for it.
    """

    key: str
    stack: Stack | None
    losses: list[float]
    steps: int
    began: float
    ended: float
    seconds: float
    curve: list[float] = field(default_factory=list)
    scores: Evaluation | None = None
    complete: bool = True
    error: str | None = None
    fits: bool = True


class Learner:
    """A candidate in training: its float32 parameters, its loss curves, and where it is in its passes.

    Args:
        examples: how many there are to learn from; batches are drawn from their indices.
        order_seed: draws the batches of a candidate that has no order of its own.
        passes: after which it ends; None: all the settings' epochs.
    """

    def __init__(
        self,
        base: Base,
        candidate: Candidate,
        settings: TrainingSettings,
        examples: int,
        order_seed: int,
        passes: int | None = None,
    ) -> None:
        self.candidate = candidate
        self.losses: list[float] = []
        self.curve: list[float] = []
        self.scores: Evaluation | None = None
        self.error: str | None = None
        self._settings = settings
        self._stopped = False
        self.a, self.b = _initial_parameters(base, candidate)
        self.first_layer = min(candidate.configuration.active_layers, default=0)
        # The warm-up is that of the whole course, so that one who ends early is where the others were then.
        self._warmup = max(1, round(settings.warmup_fraction * settings.steps(examples)))
        self._pass = settings.steps_a_pass(examples)
        self._steps = min(passes or settings.epochs, settings.epochs) * self._pass if self.a else 0
        order = order_seed if candidate.order_seed is None else candidate.order_seed
        self._batches = _batches(examples, settings, order) if self.a else []
        self._optimizer = (
            torch.optim.AdamW(
                self._parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
            )
            if self.a
            else None
        )

    @property
    def _parameters(self) -> list[Tensor]:
        return [*self.a.values(), *self.b.values()]

    @property
    def done(self) -> bool:
        return self.error is not None or self._stopped or len(self.losses) >= self._steps

    @property
    def at_end_of_pass(self) -> bool:
        return len(self.losses) % self._pass == 0

    @property
    def steps_left(self) -> int:
        return self._steps - len(self.losses)

    def next_batch(self) -> Sequence[int]:
        """Indices of the examples of the next step."""
        return self._batches[len(self.losses)]

    def note(self, loss: float) -> bool:
        """Take down the loss of a step; whether it is finite, and so worth a gradient."""
        self.losses.append(loss)
        if not math.isfinite(loss):
            self._give_up()
        return self.error is None

    def update(self) -> None:
        """Clip the gradients and take the step."""
        if self._optimizer is None:
            return
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * min(1.0, len(self.losses) / self._warmup)
        torch.nn.utils.clip_grad_norm_(self._parameters, self._settings.max_gradient_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def stop(self) -> None:
        """Train no further; what was learned so far stays."""
        self._stopped = True

    def stack(self, dtype: torch.dtype) -> Stack | None:
        """What was learned so far, in the precision that it is computed with; None if it diverged."""
        if self.error is None and not all(bool(torch.isfinite(p).all()) for p in self._parameters):
            self._give_up()
        if self.error is not None:
            return None
        a = {name: t.detach().to(dtype) for name, t in self.a.items()}
        b = {name: t.detach().to(dtype) for name, t in self.b.items()}
        return Stack(self.candidate.configuration, a, b)

    def result(self, dtype: torch.dtype, began: float, ended: float, seconds: float) -> TrainedCandidate:
        """What became of the candidate."""
        return TrainedCandidate(
            key=self.candidate.key,
            stack=self.stack(dtype),
            losses=self.losses,
            steps=len(self.losses),
            began=began,
            ended=ended,
            seconds=seconds,
            curve=self.curve,
            scores=self.scores,
            complete=not self._stopped,
            error=self.error,
        )

    def _give_up(self) -> None:
        """A diverged learner takes no further part."""
        steps = len(self.losses)
        self.error = f"training diverged: after {steps} steps the loss was {self.losses[-1]} and not all values finite"


def _batches(examples: int, settings: TrainingSettings, order_seed: int) -> list[list[int]]:
    """Indices of every step's examples: each pass in a random order of its own. Its last batch may be smaller."""
    rng = random.Random(order_seed)
    batches = []
    for _ in range(settings.epochs):
        order = list(range(examples))
        rng.shuffle(order)
        batches += [order[start : start + settings.batch_size] for start in range(0, examples, settings.batch_size)]
    return batches


def _initial_parameters(base: Base, candidate: Candidate) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A uniform in +-1/sqrt(d_in), as PEFT draws it; B zero, so that an untrained stack changes nothing.

    Drawn on the CPU from the candidate's own generator: the same on every device and in any company.
    """
    generator = torch.Generator().manual_seed(candidate.seed)
    rank = candidate.configuration.total_rank
    a, b = {}, {}
    for p in active_projections(base.projections, candidate.configuration):
        bound = 1 / math.sqrt(p.d_in)
        drawn = torch.empty(rank, p.d_in).uniform_(-bound, bound, generator=generator)
        a[p.name] = drawn.to(base.device).requires_grad_()
        b[p.name] = torch.zeros(p.d_out, rank, device=base.device).requires_grad_()
    return a, b
