"""Training many candidates at once on the one frozen base.

All candidates of a user see the same batches; each has its own parameters, loss, clipping and learning rate, so that
what it learns does not depend on its company (MiLP, section 3.4: AdamW, linear warm-up, loss on response tokens).
Must not know the search, trials or stores.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from engine.attention import Packed
from engine.base import Base
from engine.batches import Batch, Example, encode_example, epoch_batches, lay_out
from engine.configuration import Configuration
from engine.errors import TrainingStoppedError
from engine.grouped import Route
from engine.history import Sample, profile_samples
from engine.lanes import spread
from engine.layers import Span
from engine.prompts import messages_for
from engine.stack import Stack, active_projections


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a candidate is trained. `warmup_fraction` is a share of all steps; then the rate stays (paper, 3.4)."""

    learning_rate: float
    weight_decay: float
    warmup_fraction: float
    batch_size: int
    epochs: int
    max_gradient_norm: float
    max_sequence_tokens: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """One configuration to train; `seed` draws its A's."""

    key: str
    configuration: Configuration
    seed: int


@dataclass(frozen=True)
class TrainedCandidate:
    """What became of a candidate. `stack` is None if it diverged; then `error` says how."""

    key: str
    stack: Stack | None
    losses: list[float]
    steps: int
    seconds: float
    error: str | None = None


@dataclass
class _Learner:
    """A candidate in training: its float32 parameters and its loss curve."""

    candidate: Candidate
    a: dict[str, Tensor]
    b: dict[str, Tensor]
    losses: list[float] = field(default_factory=list)
    error: str | None = None

    @property
    def parameters(self) -> list[Tensor]:
        return [*self.a.values(), *self.b.values()]


def train_candidates(
    base: Base,
    candidates: Sequence[Candidate],
    train: Sequence[Sample],
    settings: TrainingSettings,
    *,
    profile: str = "",
    order_seed: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[int, int], None] | None = None,
) -> list[TrainedCandidate]:
    """Train every candidate on the same history, in one group or in lanes, as suits the device (engine.lanes).

    Args:
        train: the train part of one user's history; facts of `profile` are learned with it.
        order_seed: draws the batches; the same for all trials of a job.
        should_stop: asked before every step.
        on_step: called after every step with (candidate-steps done, candidate-steps in all), one call at a time.

    Returns:
        One result per candidate, in their order; the base itself (no active layer) is an empty stack.

    Raises:
        TrainingStoppedError: `should_stop` said so; nothing is returned.
    """
    count = sum(not candidate.configuration.is_base for candidate in candidates)
    lock, done = Lock(), 0

    def note(group: int, steps: int) -> None:
        nonlocal done
        with lock:
            done += group
            if on_step is not None:
                on_step(done, steps * count)

    def work(group: Sequence[Candidate], should_stop: Callable[[], bool]) -> list[TrainedCandidate]:
        return train_group(base, group, train, settings, profile, order_seed, should_stop, note)

    return spread(base, candidates, work, should_stop)


def train_group(
    base: Base,
    candidates: Sequence[Candidate],
    train: Sequence[Sample],
    settings: TrainingSettings,
    profile: str,
    order_seed: int,
    should_stop: Callable[[], bool],
    on_step: Callable[[int, int], None],
) -> list[TrainedCandidate]:
    """Train candidates in one batch: one forward and backward of the base over all of them. See `train_candidates`.

    Args:
        on_step: called after every step with (candidates in the group, steps in all).
    """
    started = time.perf_counter()
    learners = [_Learner(c, *_initial_parameters(base, c)) for c in candidates]
    active = [learner for learner in learners if learner.a]
    batches = _schedule(base, [*profile_samples(profile), *train], settings, order_seed) if active else []
    optimizer = _optimizer(active, settings) if active else None
    for step, examples in enumerate(batches):
        if should_stop():
            raise TrainingStoppedError("training was stopped")
        running = [learner for learner in active if learner.error is None]
        if not running or optimizer is None:
            break
        _set_rate(optimizer, settings, step, len(batches))
        _train_step(base, running, lay_out(examples).to(base.device), optimizer, settings)
        on_step(len(active), len(batches))
    seconds = time.perf_counter() - started
    return [_result(learner, base, seconds / len(learners)) for learner in learners]


def response_losses(base: Base, route: Route, batch: Batch, span: Span | None = None) -> Tensor:
    """Cross-entropy of every response token, in nats: 1-d, in the order of the batch's targets.

    Logits are computed for these tokens only.
    """
    hidden = base.hidden_states(batch.ids.unsqueeze(0), Packed(batch.lengths), route=route, span=span)[0]
    return cross_entropy(base.logits(hidden[batch.before_response]), batch.targets, reduction="none")


def encode_samples(base: Base, samples: Sequence[Sample], max_tokens: int) -> list[Example]:
    """Samples as a personalised stack sees them: the query alone, then the response."""
    limit = min(max_tokens, base.context_length)
    return [encode_example(base.format, messages_for(s.query), s.response, limit) for s in samples]


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


def _schedule(
    base: Base, samples: Sequence[Sample], settings: TrainingSettings, order_seed: int
) -> list[list[Example]]:
    rng = random.Random(order_seed)
    examples = encode_samples(base, samples, settings.max_sequence_tokens)
    return [batch for _ in range(settings.epochs) for batch in epoch_batches(examples, settings.batch_size, rng)]


def _optimizer(learners: Sequence[_Learner], settings: TrainingSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        [parameter for learner in learners for parameter in learner.parameters],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def _set_rate(optimizer: torch.optim.Optimizer, settings: TrainingSettings, step: int, steps: int) -> None:
    warmup = max(1, round(settings.warmup_fraction * steps))
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * min(1.0, (step + 1) / warmup)


def _train_step(
    base: Base,
    learners: Sequence[_Learner],
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    settings: TrainingSettings,
) -> None:
    tokens = len(batch.ids)
    route = Route.of((tokens, learner.a, learner.b) for learner in learners)
    losses = response_losses(base, route, batch.repeated(len(learners)))
    # Every learner has the same number of response tokens, so its mean loss is one row of this view.
    per_learner = losses.view(len(learners), -1).mean(dim=1)
    optimizer.zero_grad(set_to_none=True)
    values = per_learner.detach().tolist()
    healthy = [math.isfinite(value) for value in values]
    per_learner[torch.tensor(healthy, device=losses.device)].sum().backward()
    for learner, value, is_healthy in zip(learners, values, healthy, strict=True):
        learner.losses.append(value)
        if is_healthy:
            torch.nn.utils.clip_grad_norm_(learner.parameters, settings.max_gradient_norm)
        else:
            _give_up(learner)
    optimizer.step()


def _give_up(learner: _Learner) -> None:
    """A diverged learner takes no further part; its gradients must not reach its (or anyone's) parameters."""
    steps = len(learner.losses)
    learner.error = (
        f"training diverged: after {steps} steps the loss was {learner.losses[-1]} and not all values finite"
    )
    for parameter in learner.parameters:
        parameter.grad = None


def _result(learner: _Learner, base: Base, seconds: float) -> TrainedCandidate:
    stack = None
    if learner.error is None and not all(bool(torch.isfinite(p).all()) for p in learner.parameters):
        _give_up(learner)
    if learner.error is None:
        # Kept in the precision it was computed with: that is exactly what validation saw.
        a = {name: t.detach().to(base.dtype) for name, t in learner.a.items()}
        b = {name: t.detach().to(base.dtype) for name, t in learner.b.items()}
        stack = Stack(learner.candidate.configuration, a, b)
    key, losses = learner.candidate.key, learner.losses
    return TrainedCandidate(key, stack, losses, len(losses), seconds, learner.error)
