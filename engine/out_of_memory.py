"""What running out of memory looks like, which torch says in several ways. Must not know what the memory was for."""

from __future__ import annotations

_SAYINGS = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
"""torch's allocator on a CPU, those of accelerators, and their libraries (cuBLAS and others)."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory did not suffice, of the machine or of its accelerator."""
    # By its name: torch's class cannot be named without loading torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(saying in str(error) for saying in _SAYINGS)
