"""Seeds derived from a job's seed, one per purpose, and borrowing torch's random numbers without disturbing anyone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager


def derive_seed(seed: int, *purpose: object) -> int:
    """A 31-bit seed for one purpose; the same on every machine, Python version and hash seed."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


@contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Run the body with torch's global CPU generator at `seed`, then put its state back.

    BoTorch draws from that generator where it restarts a fit. `torch.manual_seed` would seed the accelerators as well
    and leave them so.
    """
    import torch

    state = torch.default_generator.get_state()
    try:
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        torch.default_generator.set_state(state)
