"""How work on several stacks is spread over the hardware: side by side in one batch, or in lanes of one thread each.

An accelerator wants all candidates in one batch: it is bound by launches. A CPU is bound by arithmetic, where a batch
of many candidates gains nothing; one thread per core, each with a candidate of its own, beats all cores sharing one
(`python -m benchmarks.search`), and holds fewer activations. All that a process spreads at a time shares its cores.
Must not know what the work is.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, TypeAlias, TypeVar

import torch

from engine.base import Base
from engine.cores import CORES, Share
from engine.errors import DoesNotFitError
from engine.out_of_memory import is_out_of_memory

Item = TypeVar("Item")
Result = TypeVar("Result")
Work: TypeAlias = Callable[[Sequence[Item], Callable[[], bool]], list[Result]]
_YIELDS = 10
"""How much nicer than the process a thread is that gives way."""


def _refuse(_item: object) -> NoReturn:
    raise DoesNotFitError("memory does not suffice for one stack alone: use a smaller batch_size or a larger machine.")


def spread(
    base: Base,
    items: Sequence[Item],
    work: Work[Item, Result],
    should_stop: Callable[[], bool],
    too_large: Callable[[Item], Result] = _refuse,
) -> list[Result]:
    """Results of `work` for every item, in the items' order.

    `work` takes a group of items and a `should_stop`, and gives one result per item. On a CPU it is called item by
    item, in as many lanes as the base has threads, one thread each, which calls from several threads share: what was
    begun first goes first. Elsewhere it is called with all items. If one call fails, the others are told to stop, and
    that failure is raised.

    Work that runs out of memory is done again with half as many items at a time, down to one with nothing beside it.

    Args:
        too_large: the result of an item that does not fit even alone.

    Raises:
        DoesNotFitError: there is such an item, and no `too_large`.
        TrainingStoppedError: `should_stop` said so while cores were waited for.
    """
    if base.device.type != "cpu" or not items:
        return _in_groups(items, work, should_stop, too_large)
    done: dict[int, Result] = {}
    left, lanes = list(range(len(items))), base.threads
    with CORES.shared(base.threads) as cores:
        while left:
            short = _in_lanes(items, left, lanes, cores, work, should_stop, done)
            return_freed_memory()
            if lanes == 1:
                done |= {i: too_large(items[i]) for i in short}
                break
            left, lanes = short, lanes // 2
    return [done[i] for i in range(len(items))]


def _in_groups(
    items: Sequence[Item],
    work: Work[Item, Result],
    should_stop: Callable[[], bool],
    too_large: Callable[[Item], Result],
) -> list[Result]:
    """All items in one call, or in halves where that is too much."""
    try:
        return work(items, should_stop)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    # Only here is the error gone, and with it its frames, which held the tensors.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(items) == 1:
        return [too_large(items[0])]
    middle = len(items) // 2
    return [
        result for half in (items[:middle], items[middle:]) for result in _in_groups(half, work, should_stop, too_large)
    ]


def _in_lanes(
    items: Sequence[Item],
    chosen: Sequence[int],
    lanes: int,
    cores: Share,
    work: Work[Item, Result],
    should_stop: Callable[[], bool],
    done: dict[int, Result],
) -> list[int]:
    """Add the results of the chosen items to `done`; those for which memory did not suffice, in their order."""
    failures: list[BaseException] = []
    short: set[int] = set()

    def stops() -> bool:
        return bool(failures) or should_stop()

    def lane(place: int) -> None:
        i = chosen[place]
        try:
            with cores.taken(place, cores.all // lanes, stops):
                (done[i],) = work([items[i]], stops)
        except BaseException as error:
            if is_out_of_memory(error):
                short.add(i)
            else:
                failures.append(error)

    # One thread even for a single item: how sums are split among threads changes their last digits, and what
    # becomes of a candidate must not depend on how many others there are.
    with ThreadPoolExecutor(len(chosen), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for _ in pool.map(lane, range(len(chosen))):
            pass
    if failures:
        raise failures[0]
    return sorted(short)


def return_freed_memory() -> None:
    """Hand what the lanes freed back to the system: glibc keeps it, in pieces that the next shapes do not fit into."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)


def give_way() -> None:
    """Run this thread at a lower priority than the process's others, where threads have one of their own (Linux).

    Decoding wants all of a core for seconds; a request beside it wants a millisecond, but at once.
    """
    if sys.platform == "linux":
        lower = os.getpriority(os.PRIO_PROCESS, 0) + _YIELDS
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), lower)
