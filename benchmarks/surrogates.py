"""Which surrogate should serve by default: hypervolume found and seconds to propose, against random search.

`python -m benchmarks.surrogates` compares the three surrogates on the synthetic problem over seeds, prints a table and
writes benchmarks/results/surrogates-cpu.json; QUICK=1 runs a small part of it and writes nothing.
"""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev

import torch

from benchmarks.synthetic import SyntheticProblem
from workers.search.initial import initial_design
from workers.search.proposal import propose, random_points
from workers.search.space import SearchSpace
from workers.search.surrogate import SURROGATES

RESULTS = Path(__file__).resolve().parent / "results" / "surrogates-cpu.json"
SPACE = SearchSpace(n_layers=24, max_total_rank=256)
INITIAL, BATCH = 12, 4
"""Trained points of the initial design (the base comes on top), and points proposed at a time."""


@dataclass(frozen=True)
class Row:
    """One search: the share of the best hypervolume after each number of trials, and what proposing cost."""

    method: str
    seed: int
    share_after: dict[int, float]
    seconds_per_proposal: list[float]
    """Seconds to propose `BATCH` points, processor time; one entry per batch."""


def search(method: str, seed: int, trials: int) -> Row:
    """One search of `trials` trials, the base's included; `method` is a surrogate's name or 'random'."""
    problem = SyntheticProblem(SPACE, seed)
    tried = [SPACE.base, *initial_design(SPACE, INITIAL, seed)]
    if method == "random":
        tried += random_points(SPACE, tried, trials - len(tried), seed)
    seconds = []
    while len(tried) < trials:
        observations = [problem.observe(configuration) for configuration in tried]
        began = time.process_time()
        tried += propose(SPACE, observations, [], BATCH, surrogate=method, seed=seed * 1000 + len(tried))
        seconds.append(round(time.process_time() - began, 2))
    checkpoints = range(1 + INITIAL, trials + 1, BATCH)
    shares = {count: round(problem.share_found(tried[:count]), 4) for count in checkpoints}
    return Row(method, seed, shares, seconds)


def print_table(rows: list[Row]) -> None:
    """Mean share of the best hypervolume per method and number of trials, its spread at the end, and seconds."""
    counts = list(rows[0].share_after)
    print(f"{'method':<22}" + "".join(f"{count:>7}" for count in counts) + f"{'sd':>7}{'s, first':>10}{'s, last':>9}")
    for method in dict.fromkeys(row.method for row in rows):
        own = [row for row in rows if row.method == method]
        means = [fmean(row.share_after[count] for row in own) for count in counts]
        spread = stdev(row.share_after[counts[-1]] for row in own) if len(own) > 1 else 0.0
        timed = [row.seconds_per_proposal for row in own if row.seconds_per_proposal]
        first, last = (fmean(seconds[i] for seconds in timed) if timed else 0.0 for i in (0, -1))
        print(f"{method:<22}" + "".join(f"{x:>7.2f}" for x in means) + f"{spread:>7.2f}{first:>10.1f}{last:>9.1f}")


def main() -> None:
    quick = os.environ.get("QUICK") == "1"
    trials, seeds = (17, 1) if quick else (25, 8)
    rows = []
    for method in ("random", *SURROGATES):
        for seed in range(seeds):
            rows.append(search(method, seed, trials))
            print(f"{method} seed {seed}: {rows[-1].share_after}", flush=True)
    print_table(rows)
    if quick:
        return
    RESULTS.parent.mkdir(exist_ok=True)
    report = {
        "problem": f"synthetic, {SPACE.n_layers} layers of which 6 matter, total rank at most {SPACE.max_total_rank}",
        "initial": INITIAL,
        "batch": BATCH,
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "botorch", "gpytorch", "numpyro")},
        "rows": [asdict(row) for row in rows],
    }
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written: {RESULTS.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
