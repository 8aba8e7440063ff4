"""`python -m benchmarks.search`: every row about training and searching. QUICK=1: fewer steps, a smaller job.

DATA= and USER= name another history (in the format of examples/*.jsonl), BASE= another base. On a CUDA machine random
models of larger shapes come first.
"""

from __future__ import annotations

import gc
import os
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import torch

from benchmarks.material import history, service_base
from benchmarks.peers import fresh_model
from benchmarks.results_file import Row, compared
from benchmarks.rounds import quick, report
from benchmarks.search import shapes, steps
from benchmarks.search.job import JobRun, run_job
from benchmarks.search.ours import our_batch
from benchmarks.search.task import Task
from benchmarks.search.theirs import autopeft_batch, peft_batch
from engine.configuration import Configuration
from engine.learner import Candidate
from workers.search.presets import Preset, budget

TRIALS, QUICK_TRIALS = 24, 8
TARGET = 3.0
"""How many times as fast as PEFT's a whole job shall be, on a CPU."""
STEP_SAMPLES, QUICK_SAMPLES = 48, 32
"""Train samples of the figures per step: six and four steps a candidate."""


def job_rows(task: Task, preset: Preset, threads: int, *, repeats: int, autopeft: bool) -> list[Row]:
    """Whole jobs. Ours goes first and the peers try what it tried; AutoPEFT's way once, for it takes longest."""
    model = fresh_model(task.base)
    _warm(task, model)
    found: dict[str, list[JobRun]] = {steps.OURS: [], steps.PEFT: [], steps.AUTOPEFT: []}
    for repeat in range(repeats):
        torch.set_num_threads(threads)
        mine = run_job(task, preset, partial(our_batch, task))
        found[steps.OURS].append(mine)
        torch.set_num_threads(threads)
        found[steps.PEFT].append(run_job(task, preset, partial(peft_batch, task, model), mine.batches))
        if autopeft and not repeat:
            found[steps.AUTOPEFT].append(run_job(task, preset, partial(autopeft_batch, task), mine.batches))
    seconds = {name: [run.seconds for run in runs] for name, runs in found.items()}
    what = f"whole job of {len(found[steps.OURS][0].scored)} trials"
    target = TARGET if task.base.device.type == "cpu" and preset.trials == TRIALS else None
    rows = [compared(what, "s", seconds[steps.OURS], seconds[steps.PEFT], steps.PEFT, target)]
    if autopeft:
        rows.append(compared(what, "s", seconds[steps.OURS][:1], seconds[steps.AUTOPEFT], steps.AUTOPEFT))
    proposing = {name: [run.proposing for run in runs] for name, runs in found.items()}
    rows.append(compared(f"{what}: of it, proposing", "s", proposing[steps.OURS], proposing[steps.PEFT], steps.PEFT))
    return rows


def _warm(task: Task, model: Any) -> None:
    """What a process pays once, a worker's as well as the peer's, is no part of a job: BoTorch's import, kernels."""
    import_module("workers.search.acquisition")
    one = [Candidate("warm", Configuration.default_lora(task.base.n_layers), seed=0)]
    our_batch(task.shorter(task.settings.batch_size), one)
    peft_batch(task.shorter(task.settings.batch_size), model, one)


def preset_of(trials: int) -> Preset:
    """The service's own budget for so many trials, without an early end: both sides shall do all of it."""
    return replace(budget("quick", trials), patience=trials)


def main() -> None:
    base, user = service_base(), history()
    threads, is_quick = os.cpu_count() or 1, quick()
    rows: list[Row] = []
    if base.device.type == "cuda":
        for shape in shapes.SHAPES:
            rows += shapes.measure(shape, user, threads, repeats=2 if is_quick else 3, train_samples=QUICK_SAMPLES)
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
    preset = preset_of(QUICK_TRIALS if is_quick else TRIALS)
    rows += job_rows(task, preset, threads, repeats=1 if is_quick else 2, autopeft=not is_quick)
    report("search", rows, threads=threads, dtype=str(base.dtype).removeprefix("torch."), history=user.user)


if __name__ == "__main__":
    main()
