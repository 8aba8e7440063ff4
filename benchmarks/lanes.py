"""How a CPU should train several candidates: each on all cores, all in one batch, or one per core (engine.lanes).

`python -m benchmarks.lanes` trains four candidates on an example history in each of the three ways, taken in turn and
repeated, prints seconds per candidate-step with their spread, and writes benchmarks/results/lanes-cpu.json. QUICK=1
repeats less and writes nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

# Idle OpenMP threads must not spin while another lane works; read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from engine.base import Base, load_base
from engine.configuration import Configuration
from engine.history import Sample, split_in_time
from engine.training import Candidate, Course, TrainingSettings, train_candidates, train_group

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "lanes-cpu.json"
SETTINGS = TrainingSettings(2e-3, 1e-4, 0.1, 8, 1, 1.0, 512)
COMMAND = "python -m benchmarks.lanes"


def candidates(n_layers: int) -> list[Candidate]:
    """Four of unlike size: all layers or half of them, total rank 16 to 160."""
    whole, half = (True,) * n_layers, tuple(i % 2 == 1 for i in range(n_layers))
    shapes = [(whole, 1, 16), (half, 1, 32), (whole, 5, 32), (half, 2, 32)]
    return [Candidate(str(i), Configuration(*shape), seed=i) for i, shape in enumerate(shapes)]


def ways(base: Base, train: Sequence[Sample]) -> dict[str, Callable[[], object]]:
    """Name of each way -> a call that trains all candidates once."""
    group = candidates(base.n_layers)

    course = Course(train, SETTINGS)

    def in_one_batch(chosen: Sequence[Candidate]) -> object:
        return train_group(base, chosen, course, places=len(chosen))

    return {
        "one after another, all cores on each": lambda: [in_one_batch([candidate]) for candidate in group],
        "all in one batch, all cores": lambda: in_one_batch(group),
        "lanes: one core each (the service)": lambda: train_candidates(base, group, course),
    }


def main() -> None:
    quick = bool(os.environ.get("QUICK"))
    base = load_base(str(ROOT / "base_model"), device="cpu", threads=os.cpu_count() or 1)
    user = json.loads((ROOT / "examples" / "diabetes-patient.jsonl").read_text())
    train = split_in_time([Sample(s["query"], s["response"]) for s in user["samples"]]).train
    steps = 4 * -(-len(train) // SETTINGS.batch_size)
    seconds: dict[str, list[float]] = {}
    for repeat in range(2 if quick else 4):
        for name, run in ways(base, train).items():
            began = time.perf_counter()
            run()
            if repeat:  # the first round warms up
                seconds.setdefault(name, []).append((time.perf_counter() - began) / steps)
    baseline = median(next(iter(seconds.values())))
    rows = [
        {
            "what": name,
            "seconds_per_candidate_step": round(median(taken), 4),
            "least": round(min(taken), 4),
            "most": round(max(taken), 4),
            "ratio": round(baseline / median(taken), 2),
        }
        for name, taken in seconds.items()
    ]
    print(
        f"{torch.get_num_threads()} threads, {base.dtype}, torch {version('torch')}; ratio: times as fast as the first"
    )
    for row in rows:
        print(
            f"{row['what']:38} {row['seconds_per_candidate_step']} s [{row['least']}, {row['most']}]  {row['ratio']}x"
        )
    if not quick:
        about = {"command": COMMAND, "threads": torch.get_num_threads(), "dtype": str(base.dtype)}
        RESULTS.write_text(json.dumps({**about, "torch": version("torch"), "rows": rows}, indent=1) + "\n")
        print(f"written: {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
