"""The environment of processes in which threads handle tensors. Must not import torch."""

from __future__ import annotations

FEW_HEAPS = {"MALLOC_ARENA_MAX": "2"}
"""For all threads together, unless the environment says otherwise: glibc would keep a heap for each, and each heap what
its thread once needed."""
