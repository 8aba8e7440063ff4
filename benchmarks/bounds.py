"""What a run under load or faults found, as rows: a value, the bound it has to keep, and whether it kept it.

One file a run, benchmarks/results/<run>.json. Must not know what was measured.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.results_file import RESULTS, commit, machine_name


@dataclass(frozen=True, slots=True)
class Bounded:
    """One figure with its bound; `held` is said by who measured it, for some bounds are least and some are most."""

    what: str
    value: float
    unit: str
    bound: float
    held: bool


def at_most(what: str, value: float, unit: str, bound: float) -> Bounded:
    """A figure that must not be above its bound."""
    return Bounded(what, value, unit, bound, value <= bound)


def at_least(what: str, value: float, unit: str, bound: float) -> Bounded:
    """A figure that must not be below its bound."""
    return Bounded(what, value, unit, bound, value >= bound)


def write(run: str, command: str, rows: Sequence[Bounded], folder: Path | None = None) -> Path:
    """Write a run's rows, in place of those of the run before; returns where.

    Args:
        command: what measures them again; `QUICK=1` is put before it where this run was one.
        folder: where to; benchmarks/results, or the environment's RESULTS, if none is given.
    """
    folder = folder or Path(os.environ.get("RESULTS") or RESULTS)
    report = {
        "run": run,
        "machine": machine_name(),
        "measured": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "command": f"QUICK=1 {command}" if os.environ.get("QUICK") else command,
        "rows": [asdict(row) for row in rows],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{run}.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return path


def in_one_line(run: str, rows: Sequence[Bounded]) -> str:
    """How many bounds were kept, and those that were not with their figures."""
    broken = [f"{row.what} {row.value:.4g} {row.unit} (bound {row.bound:.4g})" for row in rows if not row.held]
    told = f"{run}: {len(rows) - len(broken)} of {len(rows)} bounds held"
    return f"{told}; not held: {'; '.join(broken)}" if broken else told
