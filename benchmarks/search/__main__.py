"""`python -m benchmarks.search`: every row about training and searching. QUICK=1: fewer steps, a smaller job.

DATA= and USER= name another history (in the format of examples/*.jsonl), BASE= another base, TRIALS= another size of
the whole job. On a CUDA machine random models of larger shapes come first.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from statistics import fmean
from typing import Any

import torch

from benchmarks.material import History, history, service_base
from benchmarks.peers import fresh_model
from benchmarks.results_file import Row, alone, compared
from benchmarks.rounds import quick, report
from benchmarks.search import shapes, steps
from benchmarks.search.job import SURROGATE, JobRun, run_job
from benchmarks.search.ours import our_batch
from benchmarks.search.service_job import ServiceJob, service_job
from benchmarks.search.task import SEED, Task
from benchmarks.search.theirs import autopeft_batch, peft_batch
from benchmarks.shapes import SHAPES, Shape
from benchmarks.synthetic import SyntheticProblem
from engine.configuration import Configuration
from engine.learner import Candidate
from workers.proposer import Proposer, Question
from workers.search.observations import Observation
from workers.search.presets import PRESETS, Preset, budget
from workers.search.space import SearchSpace

TRIALS, QUICK_TRIALS = 24, 8
SPACE = SearchSpace(6, 32)
"""Something to propose from, to warm up with."""
TARGET = 3.0
"""How many times as fast as PEFT's a whole job shall be, on a CPU."""
STEP_SAMPLES, QUICK_SAMPLES = 48, 32
"""Train samples of the figures per step: twelve and eight steps a candidate."""


def job_rows(task: Task, trials: int, threads: int, *, repeats: int, autopeft: bool) -> list[Row]:
    """Whole jobs. Ours goes first and the peers try what it tried; AutoPEFT's way once, for it takes longest."""
    model, proposer, preset = fresh_model(task.base), Proposer(), preset_of(trials)
    _warm(task, model, proposer)
    mine: list[ServiceJob] = []
    theirs: list[JobRun] = []
    fresh: list[JobRun] = []
    for repeat in range(repeats):
        torch.set_num_threads(threads)
        mine.append(service_job(task, trials, proposer))
        torch.set_num_threads(threads)
        theirs.append(run_job(task, preset, partial(peft_batch, task, model), mine[-1].batches))
        if autopeft and not repeat:
            fresh.append(run_job(task, preset, partial(autopeft_batch, task), mine[-1].batches))
    proposer.close()
    ours = [run.seconds for run in mine]
    what = f"whole job of {sum(map(len, mine[0].batches))} trials"
    target = TARGET if task.base.device.type == "cpu" and trials == TRIALS else None
    rows = [compared(what, "s", ours, [run.seconds for run in theirs], steps.PEFT, target)]
    if autopeft:
        rows.append(compared(what, "s", ours[:1], [run.seconds for run in fresh], steps.AUTOPEFT))
    taken, whole = zip(*(_optimiser_steps(task, run) for run in mine), strict=True)
    rows.append(compared(f"{what}: optimiser steps, trials stopped early", "steps", taken, whole, "all passes"))
    rows.append(agreement(what, mine, theirs))
    return rows


def agreement(what: str, ours: Sequence[ServiceJob], theirs: Sequence[JobRun]) -> Row:
    """How far the two sides' losses on validation are apart, at most, of trials that made every pass on both."""
    pairs = [
        (own.losses[place], fmean(scored.loss))
        for own, other in zip(ours, theirs, strict=True)
        for place, scored in enumerate(other.scored)
        if place in own.losses and not scored.failed
    ]
    told = f"{what}: largest difference from PEFT's validation loss, {len(pairs) // len(ours)} trials with every pass"
    return alone(f"{told} (its mean: {fmean(b for _, b in pairs):.2f})", "nats", [max(abs(a - b) for a, b in pairs)])


def _optimiser_steps(task: Task, run: ServiceJob) -> tuple[float, float]:
    """Of a job: those it took, and those of every trial making all its passes."""
    a_pass = task.settings.steps_a_pass(len(task.examples))
    return a_pass * sum(run.passes), task.steps * len(run.passes)


def _warm(task: Task, model: Any, proposer: Proposer) -> None:
    """What a process pays once, a worker's as well as the peer's, is no part of a job: BoTorch's import, kernels."""
    import_module("workers.search.acquisition")
    _warm_search(proposer)
    one = [Candidate("warm", Configuration.default_lora(task.base.n_layers), seed=0)]
    our_batch(task.shorter(task.settings.batch_size), one)
    peft_batch(task.shorter(task.settings.batch_size), model, one)


def _warm_search(proposer: Proposer) -> None:
    first = proposer.ask(_question([]))
    proposer.ask(_question([SyntheticProblem(SPACE, 0).observe(point) for point, _ in first.configurations]))


def _whole_job(shape: Shape, user: History) -> list[Row]:
    proposer = Proposer()
    try:
        _warm_search(proposer)
        return shapes.whole_job(shape, user, proposer)
    finally:
        proposer.close()


def _question(observations: list[Observation]) -> Question:
    return Question(SPACE, PRESETS["quick"], observations, [], [], 1, SEED, SURROGATE, 0.0, None)


def preset_of(trials: int) -> Preset:
    """The service's own budget for so many trials, without an early end: both sides shall do all of it."""
    return replace(budget("standard", trials), patience=trials)


def main() -> None:
    base, user = service_base(), history()
    threads, is_quick = os.cpu_count() or 1, quick()
    rows: list[Row] = []
    if base.device.type == "cuda":
        for shape in SHAPES:
            rows += shapes.measure(shape, user, threads, repeats=2 if is_quick else 3, train_samples=QUICK_SAMPLES)
            rows += _whole_job(shape, user)
            gc.collect()  # hooks and modules hold each other
            torch.cuda.empty_cache()
            print(f"measured: {shape.name}", flush=True)
    task = Task.of(base, user)
    short = task.shorter(QUICK_SAMPLES if is_quick else STEP_SAMPLES)
    four = steps.sizes(base.n_layers)
    rows += steps.measure(short, four, threads, repeats=2 if is_quick else 3, everything=not is_quick)
    print("measured: candidate-steps", flush=True)
    if not is_quick:
        rows += steps.padding(short, shapes.drawn(base, 6), threads, repeats=2)
        print("measured: true ranks against padded ones", flush=True)
    trials = int(os.environ.get("TRIALS") or (QUICK_TRIALS if is_quick else TRIALS))
    rows += job_rows(task, trials, threads, repeats=1 if is_quick else 2, autopeft=not is_quick)
    report("search", rows, threads=threads, dtype=str(base.dtype).removeprefix("torch."), history=user.user)


if __name__ == "__main__":
    main()
