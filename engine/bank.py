"""The stacks now loaded onto the base: a bounded bank, least recently used goes first.

A stack is loaded by the thread that asks for it, so decoding never waits for a disk; rows that use an evicted stack
keep it alive until they end. Keys carry the version, so a new version is another stack. Must not know files.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from threading import Lock

import torch

from engine.base import Base
from engine.row_kernel import readable
from engine.row_route import has_kernel
from engine.stack import Stack, check_fits


class StackBank:
    """Loaded stacks by key.

    Args:
        capacity: most stacks kept.
    """

    def __init__(self, base: Base, capacity: int) -> None:
        self._base = base
        self._capacity = capacity
        self._stacks: OrderedDict[str, Stack] = OrderedDict()
        self._loading: dict[str, Future[Stack]] = {}
        self._lock = Lock()
        self.evictions = 0

    def get(self, key: str, load: Callable[[], Stack]) -> Stack:
        """The stack of `key`, loaded by `load` if it is not here; callers that ask meanwhile wait for that one load.

        Raises:
            StackMismatchError: what was loaded does not fit the base. Whatever `load` raises.
        """
        with self._lock:
            if key in self._stacks:
                self._stacks.move_to_end(key)
                return self._stacks[key]
            pending = self._loading.get(key)
            mine = pending is None
            if pending is None:
                pending = self._loading[key] = Future()
        if mine:
            self._load(key, load, pending)
        return pending.result()

    def forget(self, prefix: str) -> int:
        """Drop every stack whose key begins with `prefix`; returns how many."""
        with self._lock:
            keys = [key for key in self._stacks if key.startswith(prefix)]
            for key in keys:
                del self._stacks[key]
            for key in [key for key in self._loading if key.startswith(prefix)]:
                # The load under way still answers those who wait for it, but what it brings is not kept.
                del self._loading[key]
        return len(keys)

    def keys(self) -> list[str]:
        with self._lock:
            return list(self._stacks)

    def _load(self, key: str, load: Callable[[], Stack], pending: Future[Stack]) -> None:
        try:
            stack = load()
            check_fits(stack, self._base.projections, self._base.n_layers)
            ready = placed(stack, self._base)
        except BaseException as error:
            with self._lock:
                self._loading.pop(key, None)
            pending.set_exception(error)
            return
        with self._lock:
            if self._loading.get(key) is pending:
                del self._loading[key]
                self._stacks[key] = ready
                while len(self._stacks) > self._capacity:
                    self._stacks.popitem(last=False)
                    self.evictions += 1
        pending.set_result(ready)


def placed(stack: Stack, base: Base) -> Stack:
    """The stack as the base's rows are decoded with it: on its device, in its precision, as the kernels read it."""
    there = _copied(stack, base.device, base.dtype)
    if not has_kernel(base.device):
        return there
    return Stack(there.configuration, there.a, {name: readable(b) for name, b in there.b.items()})


def _copied(stack: Stack, device: torch.device, dtype: torch.dtype) -> Stack:
    """On a GPU by a stream of its own: on decoding's, the copy and the next step would wait for each other."""
    if device.type != "cuda":
        return stack.to(device=device, dtype=dtype)
    decoding, beside = torch.cuda.current_stream(device), _stream(device)
    with torch.cuda.stream(beside):
        there = stack.to(device=device, dtype=dtype)
    beside.synchronize()
    for tensor in (*there.a.values(), *there.b.values()):
        # Once it is evicted, no other copy may lie where steps under way still read it.
        tensor.record_stream(decoding)
    return there


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
