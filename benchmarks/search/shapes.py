"""Candidate-steps per second, and whole jobs, on Llamas of 135 million, 1 and 7 billion random parameters."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

import torch

from benchmarks.material import History, of_length
from benchmarks.results_file import Row, compared, limited
from benchmarks.rounds import in_turn
from benchmarks.search.service_job import service_job
from benchmarks.search.steps import OURS, PEFT, Trained, agreement, ours, peft
from benchmarks.search.task import SEED, Task
from benchmarks.shapes import Shape, random_base
from engine.base import Base
from engine.learner import Candidate
from workers.proposer import Proposer
from workers.search.space import SearchSpace

JOB_SAMPLES = 200
MOST_RANK = 128
"""Largest total rank of a candidate: with 512, the optimisers of a 7 B model's candidates alone would fill a GPU."""


def measure(
    shape: Shape,
    history: History,
    threads: int,
    *,
    repeats: int,
    train_samples: int,
    device: str = "cuda",
    dtype: torch.dtype = torch.bfloat16,
) -> list[Row]:
    """One shape's rows."""
    base, model = random_base(shape, device, dtype)
    task = Task.of(base, history).shorter(train_samples)
    candidates = drawn(base, shape.candidates)
    found: dict[str, list[Trained]] = in_turn(
        {OURS: partial(ours, task, candidates), PEFT: partial(peft, task, candidates, lambda: model)},
        repeats,
        threads=threads,
    )
    speeds = {name: [task.steps * len(candidates) / one.seconds for one in runs] for name, runs in found.items()}
    memory = {name: [one.mebibytes for one in runs] for name, runs in found.items()}
    what = f"{shape.name}, random weights, {len(candidates)} candidates"
    return [
        compared(what, "candidate-steps/s", speeds[OURS], speeds[PEFT], PEFT, shape.target),
        compared(f"{what}: memory beside the base", "MiB", memory[OURS], memory[PEFT], PEFT),
        agreement(found[OURS][0], found[PEFT][0]),
    ]


def whole_job(
    shape: Shape,
    history: History,
    proposer: Proposer,
    *,
    samples: int = JOB_SAMPLES,
    trials: int | None = None,
    device: str = "cuda",
    dtype: torch.dtype = torch.bfloat16,
) -> list[Row]:
    """A standard job of the service from its first plan until its winner is published, where there is a limit for it.

    Random weights end no answer, so every response that is scored has the most tokens there may be.
    """
    if shape.job_seconds is None:
        return []
    base, _ = random_base(shape, device, dtype)
    task = Task.of(base, of_length(history, samples))
    job = service_job(task, trials, proposer, until=None)
    what = f"{shape.name}, random weights: whole standard job of {sum(map(len, job.batches))} trials, {samples} samples"
    return [limited(what, "s", [job.seconds], shape.job_seconds)]


def drawn(base: Base, count: int) -> Sequence[Candidate]:
    """Candidates as a search could propose them; always the same."""
    space, rng = SearchSpace(base.n_layers, min(MOST_RANK, base.hidden_size // 2)), random.Random(SEED)
    return [Candidate(str(i), space.random(rng), seed=i) for i in range(count)]
