"""Candidate-steps per second: this project's training against PEFT's, its other ways, and a padded form of itself.

Must not know searches.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil
import torch

from benchmarks.peers import fresh_model
from benchmarks.results_file import Row, alone, compared
from benchmarks.rounds import in_turn
from benchmarks.search.task import Task
from benchmarks.search.theirs import train
from engine.configuration import Configuration
from engine.learner import Candidate
from engine.training import train_candidates, train_group

OURS = "ours"
PEFT = "PEFT, one candidate at a time"
AUTOPEFT = "PEFT, the base loaded for each (AutoPEFT)"
ONE_BY_ONE = "ours, one after another on all cores"
ONE_BATCH = "ours, all in one batch on all cores"


@dataclass(frozen=True)
class Trained:
    """A group of candidates, trained.

    Attributes:
        losses: each candidate's training losses.
        mebibytes: most memory above what there was before.
    """

    seconds: float
    losses: list[list[float]]
    mebibytes: float


def sizes(n_layers: int) -> list[Candidate]:
    """Four candidates of unlike size: all layers or half of them, total rank 16 to 160."""
    whole, half = (True,) * n_layers, tuple(i % 2 == 1 for i in range(n_layers))
    shapes = [(whole, 1, 16), (half, 1, 32), (whole, 5, 32), (half, 2, 32)]
    return [Candidate(str(i), Configuration(*shape), seed=i) for i, shape in enumerate(shapes)]


def measure(task: Task, candidates: Sequence[Candidate], threads: int, *, repeats: int, everything: bool) -> list[Row]:
    """Ours against PEFT and AutoPEFT, and whether they learn the same.

    Args:
        everything: also how else the engine could train them.
    """
    model = fresh_model(task.base)
    contenders: dict[str, Callable[[], Trained]] = {
        OURS: partial(ours, task, candidates),
        PEFT: partial(peft, task, candidates, lambda: model),
        AUTOPEFT: partial(peft, task, candidates, lambda: fresh_model(task.base)),
    }
    if everything:
        contenders[ONE_BY_ONE] = partial(grouped, task, [[candidate] for candidate in candidates])
        contenders[ONE_BATCH] = partial(grouped, task, [candidates])
    found = in_turn(contenders, repeats, threads=threads)
    what = f"training {len(candidates)} candidates"
    speeds = {name: [task.steps * len(candidates) / one.seconds for one in runs] for name, runs in found.items()}
    rows = [
        compared(what, "candidate-steps/s", speeds[OURS], speeds[name], name) for name in contenders if name != OURS
    ]
    return [*rows, agreement(found[OURS][0], found[PEFT][0])]


def agreement(our_side: Trained, their_side: Trained) -> Row:
    """How far the two sides' losses after the last step are apart, at most."""
    pairs = [(a[-1], b[-1]) for a, b in zip(our_side.losses, their_side.losses, strict=True)]
    level = sum(b for _, b in pairs) / len(pairs)
    return alone(
        f"largest difference from PEFT's loss after the last step (its mean: {level:.2f})",
        "nats",
        [max(abs(a - b) for a, b in pairs)],
    )


def padding(task: Task, candidates: Sequence[Candidate], threads: int, *, repeats: int) -> list[Row]:
    """Every candidate at its true rank, on its own layers, against all padded to the largest rank and to all layers."""
    largest = max(candidate.configuration.total_rank for candidate in candidates)
    full = Configuration((True,) * task.base.n_layers, 1, largest)
    alike = [Candidate(candidate.key, full, candidate.seed) for candidate in candidates]
    found = in_turn(
        {OURS: partial(ours, task, candidates), "padded": partial(ours, task, alike)}, repeats, threads=threads
    )
    seconds = {name: [one.seconds / task.steps / len(candidates) for one in runs] for name, runs in found.items()}
    memory = {name: [one.mebibytes for one in runs] for name, runs in found.items()}
    what, peer = f"{len(candidates)} searched candidates at true ranks", "padded to the largest rank and all layers"
    return [
        compared(f"{what}: time", "s a candidate-step", seconds[OURS], seconds["padded"], peer),
        compared(f"{what}: memory", "MiB", memory[OURS], memory["padded"], peer),
    ]


def ours(task: Task, candidates: Sequence[Candidate]) -> Trained:
    """As the service trains them: in lanes on a CPU, in one batch elsewhere."""
    with _measured(task) as told:
        done = train_candidates(task.base, candidates, task.course)
    return told([one.losses for one in done])


def grouped(task: Task, groups: Sequence[Sequence[Candidate]]) -> Trained:
    """Each group in one batch, the groups one after another."""
    with _measured(task) as told:
        done = [one for group in groups for one in train_group(task.base, group, task.course, places=len(group))]
    return told([one.losses for one in done])


def peft(task: Task, candidates: Sequence[Candidate], model: Callable[[], Any]) -> Trained:
    """One after another, on whatever base `model` gives each."""
    losses = []
    with _measured(task) as told:
        for candidate in candidates:
            wrapped, own, _ = train(task, model(), candidate)
            wrapped.unload()
            losses.append(own)
    return told(losses)


@contextmanager
def _measured(task: Task) -> Iterator[Callable[[list[list[float]]], Trained]]:
    """Times the block and watches its memory; call what it gives with the losses, after the block."""
    cuda, ended, peak = task.base.device.type == "cuda", threading.Event(), 0
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        process = psutil.Process()
        before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.01):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    if not cuda:
        watcher.start()
    began, spent = time.perf_counter(), 0.0
    try:
        yield lambda losses: Trained(spent, losses, (peak - before) / 2**20)
    finally:
        if cuda:
            torch.cuda.synchronize()
            peak = torch.cuda.max_memory_allocated()
        spent = time.perf_counter() - began
        ended.set()
        if not cuda:
            watcher.join()
