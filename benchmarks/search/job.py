"""A whole search in this process, without database or queue: proposes, has a batch trained and scored, and again.

The proposals are those of the service (workers.search.loop). Must not know who trains.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.search.task import SEED, Scored, Task
from engine.configuration import Configuration
from engine.learner import Candidate
from workers.search.loop import next_batch
from workers.search.presets import Preset
from workers.search.seeds import derive_seed
from workers.search.space import SearchSpace, default_max_total_rank

Trainer = Callable[[Sequence[Candidate]], list[Scored]]
SURROGATE = "map_saas"


@dataclass(frozen=True)
class JobRun:
    """A search that has ended.

    Args:
        seconds: of everything.
        proposing: of them, seconds the search took to propose.
        batches: what was tried, batch by batch.
    """

    seconds: float
    proposing: float
    batches: list[list[Configuration]]
    scored: list[Scored]


def run_job(
    task: Task, preset: Preset, trainer: Trainer, follow: Sequence[Sequence[Configuration]] | None = None
) -> JobRun:
    """One job.

    Args:
        follow: another run's batches. The search proposes as ever from this run's own scores, but these are tried:
            scores differ in their last digits, and two runs that part there would train stacks of unlike size.
    """
    began, proposing, batches, scored = time.perf_counter(), 0.0, list[list[Configuration]](), list[Scored]()
    space = SearchSpace(task.base.n_layers, default_max_total_rank(task.base.hidden_size))
    while follow is None or len(batches) < len(follow):
        asked = time.perf_counter()
        proposed = _proposed(task, space, preset, scored, asked - began)
        proposing += time.perf_counter() - asked
        if not proposed:
            break
        batches.append(proposed if follow is None else list(follow[len(batches)]))
        first = len(scored)
        scored += trainer(
            [
                Candidate(str(number), configuration, derive_seed(SEED, "trial", number))
                for number, configuration in enumerate(batches[-1], start=first)
            ]
        )
    return JobRun(time.perf_counter() - began, proposing, batches, scored)


def _proposed(
    task: Task, space: SearchSpace, preset: Preset, scored: Sequence[Scored], elapsed: float
) -> list[Configuration]:
    batch = next_batch(
        space,
        preset,
        [one.observation(task.base) for one in scored if not one.failed],
        [one.candidate.configuration for one in scored if one.failed],
        [],
        task.trials_per_step,
        SEED,
        SURROGATE,
        elapsed,
        None,
    )
    return [configuration for configuration, _ in batch.configurations]
