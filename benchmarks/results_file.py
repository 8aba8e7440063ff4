"""What a benchmark found, as rows: this project's figure beside a peer's, and how many times better it is.

One file for each benchmark and machine, benchmarks/results/<benchmark>-<processor or GPU>.json. Must not know what was
measured; torch is loaded only to ask for the GPU's name.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LIMIT = "limit"
"""Peer of a figure that has a bound instead of somebody to compare it with; the ratio is how far inside it is."""


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison.

    Args:
        ours, peer: medians over the repeats, in `unit`; no peer where there is nothing to compare with.
        ratio: how many times better ours is: above 1 is better, whatever the unit.
        target: the ratio to reach; None where there is none.
        spread: least and most of the ratio over the repeats; None of what was measured once.
        commit: what was measured; `-dirty` where the working tree was changed.
        command: what measures it again.
    """

    what: str
    ours: float
    peer: float | None
    peer_name: str | None
    unit: str
    ratio: float | None
    target: float | None
    spread: tuple[float, float] | None
    commit: str = ""
    command: str = ""


def compared(
    what: str,
    unit: str,
    ours: Sequence[float],
    peer: Sequence[float],
    peer_name: str,
    target: float | None = None,
) -> Row:
    """Ours against a peer's, repeat by repeat: the ratio is of the medians, its spread of the repeats.

    A unit per second is a rate, of which more is better; of anything else less is. One repeat has no spread.

    Raises:
        ValueError: the two were not measured equally often.
    """
    if not ours or len(ours) != len(peer):
        raise ValueError(f"{what}: {len(ours)} repeats of ours and {len(peer)} of {peer_name} are no pairs")
    middle, pairs = (median(ours), median(peer)), list(zip(ours, peer, strict=True))
    spread = sorted(times_better(unit, *pair) for pair in pairs)
    ratio = times_better(unit, *middle)
    return Row(what, *middle, peer_name, unit, ratio, target, (spread[0], spread[-1]) if len(pairs) > 1 else None)


def limited(what: str, unit: str, ours: Sequence[float], limit: float) -> Row:
    """Ours against a bound that it has to keep: a ratio of 1 keeps it."""
    return compared(what, unit, ours, [limit] * len(ours), LIMIT, target=1.0)


def alone(what: str, unit: str, ours: Sequence[float]) -> Row:
    """A figure without a peer."""
    return Row(what, median(ours), None, None, unit, None, None, None)


def times_better(unit: str, ours: float, peer: float) -> float:
    """How many times better ours is than the peer's. What costs nothing measurable counts as a millionth."""
    more, less = (ours, peer) if unit.endswith("/s") else (peer, ours)
    return max(more, 1e-6) / max(less, 1e-6)


def write(benchmark: str, command: str, rows: Sequence[Row], **about: Any) -> Path | None:
    """Write a benchmark's rows and return where, or None: a QUICK run is no result unless RESULTS names a folder."""
    quick, folder = bool(os.environ.get("QUICK")), os.environ.get("RESULTS")
    if quick and not folder:
        return None
    stamp = {"commit": commit(), "command": f"QUICK=1 {command}" if quick else command}
    report = {
        "benchmark": benchmark,
        "machine": machine_name(),
        "measured": datetime.now(UTC).date().isoformat(),
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
        **about,
        "rows": [_rounded({**asdict(row), **stamp}) for row in rows],
    }
    path = Path(folder or RESULTS) / f"{benchmark}-{slug(machine_name())}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return path


def read_all(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Every report in a folder, by file name; files of another shape are left out."""
    loaded = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json")))
    return [report for report in loaded if "benchmark" in report]


def machine_name() -> str:
    """The GPU's name where torch finds one, else the processor's."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text() if cpuinfo.exists() else "", re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def slug(name: str) -> str:
    """A name as part of a file's: lower case letters and digits, joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def commit() -> str:
    """The commit that is checked out, short; `-dirty` where files of it were changed, other than results."""
    short = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
    return f"{short}-dirty" if changed else short


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _rounded(value: Any) -> Any:
    """Four digits that count: the rest is noise."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, tuple | list):
        return [_rounded(part) for part in value]
    return {name: _rounded(part) for name, part in value.items()} if isinstance(value, dict) else value
