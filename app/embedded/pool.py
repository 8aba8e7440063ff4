"""How many pool processes the embedded worker has. Arithmetic only; starts nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from app.settings import Settings

_SMALL_BASE_BYTES = 1 << 30
"""A base of at most this much weight may be held twice; a larger one would cost more memory than time it saves."""


def pool_processes(settings: Settings) -> int:
    """Pool processes of the worker: two for a small base on a CPU of several cores, else one.

    Threads of one process share the arithmetic of a small base badly. On two cores, two processes of one thread each
    trained 1.7 times as fast as one process of two (bfloat16, 265 against 455 ms for a candidate's step).
    """
    if not _on_cpu(settings) or available_cores() < 2 or settings.torch_threads:
        return 1
    weights = list(Path(settings.base_model).glob("*.safetensors"))
    return 2 if weights and sum(file.stat().st_size for file in weights) <= _SMALL_BASE_BYTES else 1


def available_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _on_cpu(settings: Settings) -> bool:
    """Whether the base will run on the CPU, as far as one can tell without loading torch."""
    if settings.device == "auto":
        return sys.platform == "linux" and not any(Path(p).exists() for p in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg"))
    return settings.device == "cpu"
