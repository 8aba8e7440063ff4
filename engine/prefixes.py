"""Beginnings of prompts that were read before: their keys and values, so that who comes again is read from there on.

A user's prompts begin alike (the profile, the turns so far), and a key or value depends on nothing but the tokens up to
it, the base and the stack. Kept per owner and stack, never across: nobody's answer is computed from what was computed
for another. Must not know threads that decode, or what the tokens mean.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

from torch import Tensor

LEAST_TOKENS = 8
"""A shared beginning shorter than this is read again: to put it together costs as much."""

Layers = dict[int, tuple[Tensor, Tensor]]
"""By attention layer, keys and values: heads x tokens x dim."""


class PrefixKey(NamedTuple):
    """Whose beginning it is, and of which version's stack; "" is the base."""

    owner: str
    stack: str

    def is_of(self, prefix: str) -> bool:
        return self.owner.startswith(prefix) or self.stack.startswith(prefix)


@dataclass(frozen=True, slots=True)
class Past:
    """The first `length` tokens of a sequence, read already; of `layers`, that many tokens count."""

    length: int
    layers: Layers


@dataclass(frozen=True, slots=True)
class _Kept:
    ids: tuple[int, ...]
    layers: Layers
    size: int


class PrefixCache:
    """The last sequence of each owner and stack, least recently used dropped first. Threads may share it.

    Args:
        capacity: bytes of keys and values kept at most.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[PrefixKey, _Kept] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def find(self, key: PrefixKey | None, prompt: Sequence[int]) -> Past | None:
        """What was read of this prompt's beginning; never all of it, for its last token gives the first answer."""
        if key is None:
            return None
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return None
            self._kept.move_to_end(key)
        length = 0
        for given, known in zip(prompt[:-1], kept.ids, strict=False):
            if given != known:
                break
            length += 1
        return Past(length, kept.layers) if length >= LEAST_TOKENS else None

    def keep(self, key_now: Callable[[], PrefixKey | None], ids: Sequence[int], layers: Layers) -> None:
        """Keep a sequence in the place of its owner's and stack's last one.

        Args:
            key_now: asked while nobody can forget: None where its owner was forgotten meanwhile.
        """
        size = sum(t.numel() * t.element_size() for pair in layers.values() for t in pair)
        if size > self._capacity:
            return
        with self._lock:
            key = key_now()
            if key is None:
                return
            self._drop(key)
            self._kept[key] = _Kept(tuple(ids), layers, size)
            self._size += size
            while self._size > self._capacity:
                self._drop(next(iter(self._kept)))

    def forget(self, prefix: str, also: Callable[[], None] = lambda: None) -> None:
        """Drop what is of an owner, or of a stack, whose name begins so.

        Args:
            also: done while nobody can keep anything.
        """
        with self._lock:
            for key in [key for key in self._kept if key.is_of(prefix)]:
                self._drop(key)
            also()

    def _drop(self, key: PrefixKey) -> None:
        if (kept := self._kept.pop(key, None)) is not None:
            self._size -= kept.size
