"""Contenders measured in turn in one process, again and again, so that what disturbs the machine disturbs them alike.

Must not know what is measured.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import psutil
import torch

from benchmarks.results_file import ROOT, Row, write
from benchmarks.tables import print_rows

T = TypeVar("T")


def quick() -> bool:
    """Whether only the part that matters is wanted."""
    return bool(os.environ.get("QUICK"))


def in_turn(
    contenders: Mapping[str, Callable[[], T]], repeats: int, *, threads: int, warm: bool = True
) -> dict[str, list[T]]:
    """What each contender gave in each repeat, one after another and in the same order every time.

    Args:
        threads: torch's, set anew before each: threads that one contender starts set the process's number too.
        warm: one round more comes first, which is not counted.
    """
    found: dict[str, list[T]] = {name: [] for name in contenders}
    for repeat in range(repeats + warm):
        for name, run in contenders.items():
            torch.set_num_threads(threads)
            result = run()
            if repeat or not warm:
                found[name].append(result)
    return found


def report(benchmark: str, rows: Sequence[Row], **about: Any) -> None:
    """Print the rows and write them to their file, with the minutes since this process began."""
    print_rows([asdict(row) for row in rows])
    minutes = (time.time() - psutil.Process().create_time()) / 60
    path = write(benchmark, f"python -m benchmarks.{benchmark}", rows, minutes=minutes, **about)
    if path is not None:
        print(f"written: {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}")
