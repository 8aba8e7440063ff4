"""How much of what it needed once a process keeps. Must not import torch."""

from __future__ import annotations

import ctypes
import os
import sys

_M_ARENA_MAX = -8  # malloc.h
_HEAPS = 2
"""For all threads together: glibc would keep a heap for each, and each heap what its thread once needed."""
_KERNELS = "256"
"""That oneDNN keeps, one for every shape of a product, of 0.2 MiB each. A process that sees texts of all lengths
would fill oneDNN's own 1,024."""


def keep_little() -> None:
    """Unless MALLOC_ARENA_MAX and ONEDNN_PRIMITIVE_CACHE_CAPACITY say otherwise. Call it before there are threads, and
    before anything is multiplied.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _KERNELS)
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, _HEAPS)
