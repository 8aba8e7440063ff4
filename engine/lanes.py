"""How work on several stacks is spread over the hardware: side by side in one batch, or in lanes of one thread each.

An accelerator wants all candidates in one batch: it is bound by launches. A CPU is bound by arithmetic, where a batch
of many candidates gains nothing; one thread per core, each with a candidate of its own, beats all cores sharing one
(`python -m benchmarks.search`), and holds fewer activations. Must not know what the work is.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from engine.base import Base

Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(
    base: Base,
    items: Sequence[Item],
    work: Callable[[Sequence[Item], Callable[[], bool]], list[Result]],
    should_stop: Callable[[], bool],
) -> list[Result]:
    """Results of `work` for every item, in the items' order.

    `work` takes a group of items and a `should_stop`, and gives one result per item. On a CPU it is called item by
    item, in as many lanes as torch has threads, one thread each; elsewhere once, with all items. If one call fails,
    the others are told to stop, and that failure is raised.
    """
    if base.device.type != "cpu" or not items:
        return work(items, should_stop)
    threads = torch.get_num_threads()
    failures: list[BaseException] = []

    def lane(item: Item) -> list[Result]:
        try:
            return [] if failures else work([item], lambda: bool(failures) or should_stop())
        except BaseException as error:
            failures.append(error)
            return []

    try:
        # One thread even for a single item: how sums are split among threads changes their last digits, and what
        # becomes of a candidate must not depend on how many others there are.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as lanes:
            results = [result for done in lanes.map(lane, items) for result in done]
    finally:
        torch.set_num_threads(threads)
        return_freed_memory()
    if failures:
        raise failures[0]
    return results


def return_freed_memory() -> None:
    """Hand what the lanes freed back to the system: glibc keeps it, in pieces that the next shapes do not fit into."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)
