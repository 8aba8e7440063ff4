"""Trains a few candidates in a process that may not grow by more than so many MiB, and says what became of each.

    python -m tests.faults.little_memory MIB

A program of its own: a limit on a process's memory cannot be taken back from what it has broken.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys

import psutil
import torch

from app.settings import Settings
from engine.base import load_base
from engine.configuration import Configuration
from engine.history import Sample
from engine.learner import TrainedCandidate
from engine.training import Candidate, Course, TrainingSettings, train_candidates

SIZES = [(1, 8), (2, 32), (4, 32), (4, 48)]
SETTINGS = TrainingSettings(4e-3, 1e-4, 0.1, batch_size=12, epochs=1, max_gradient_norm=1.0, max_sequence_tokens=256)


def main() -> None:
    base = load_base(Settings(_env_file=None).base_model, device="cpu", dtype="float32", threads=2)
    text = " ".join(f"word {number}" for number in range(40))
    history = [Sample(f"What of {number}?", f"{number} {text}") for number in range(24)]
    everything = (True,) * base.n_layers
    candidates = [Candidate(str(i), Configuration(everything, n, r), seed=i) for i, (n, r) in enumerate(SIZES)]
    # What every later step needs is there before the limit is: threads, compiled kernels, buffers of libraries.
    train_candidates(base, candidates[:1], Course(history[:2], SETTINGS))
    room = int(sys.argv[1]) * 2**20
    if room:
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + room, resource.RLIM_INFINITY))
    trained = train_candidates(base, candidates, Course(history, SETTINGS))
    print(json.dumps([_told(one) for one in trained]))


def _told(trained: TrainedCandidate) -> str:
    """A digest of its weights, or that it did not fit."""
    if trained.stack is None:
        return "does not fit" if not trained.fits else str(trained.error)
    digest = hashlib.sha256()
    for half in (trained.stack.a, trained.stack.b):
        for name in sorted(half):
            digest.update(half[name].to(torch.float32).numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
