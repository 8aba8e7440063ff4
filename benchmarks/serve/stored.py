"""Users whose stacks lie in a real adapter store on disk, and what reading them costs: cold stacks, small banks.

Must not know peers or HTTP.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from adapters_store.record import Provenance
from adapters_store.store import AdapterStore, Published
from benchmarks.material import default_lora, generated_stack
from benchmarks.results_file import Row, alone, compared, limited
from benchmarks.rounds import in_turn
from benchmarks.serve import ours
from benchmarks.serve.answers import LATENCIES, Round
from engine.answer import Answer
from engine.answering import AnsweringEngine
from engine.base import Base

COLD_LIMIT_MS = 50.0
"""Most that reading a stack may add to the time to first token."""
OTHERS = 8
"""Users who are being answered while a cold stack is read."""
PLACES = 16
MULTIPLES = (1, 2, 4, 16)
"""Places of the bank, and how many times as many users ask."""


@dataclass(frozen=True)
class Stored:
    """Versions of users 0, 1, .. in a store, as default LoRAs."""

    base: Base
    store: AdapterStore
    root: Path
    versions: list[Published]

    def request(self, user: int, query: str) -> ours.Request:
        path = self.versions[user].path
        return query, path, lambda: self.store.load(path, self.base)

    def make_cold(self, user: int) -> None:
        """Drop the version's files from the system's cache, so that they are read from the disk."""
        for file in (self.root / self.versions[user].path).iterdir():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


@contextmanager
def stored(base: Base, count: int) -> Iterator[Stored]:
    """So many published versions, each of a user of its own, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="milp-bench-") as folder:
        store = AdapterStore.open(Path(folder).as_uri())
        provenance = Provenance(base.name, base.digest, base.model_type, any(p.transposed for p in base.projections))
        versions = [
            store.publish("bench", f"user-{i}", generated_stack(base, default_lora(base, i), seed=i), provenance)
            for i in range(count)
        ]
        yield Stored(base, store, Path(folder), versions)


def cold_rows(base: Base, queries: Sequence[str], threads: int, *, repeats: int, new_tokens: int = 8) -> list[Row]:
    """A first request's time to first token, alone and while others are answered, and what it does to their gaps."""
    users, query = OTHERS + 2 * repeats, queries[0]
    found: dict[bool, list[_Pair]] = {False: [], True: []}
    with (
        stored(base, users) as there,
        ours.engine(base, rows=OTHERS + 1, bank_stacks=users, queue=users, threads=threads) as running,
    ):
        others = [there.request(i, queries[i % len(queries)]) for i in range(OTHERS)]
        ours.all_at_once(running, others, new_tokens)
        for user in range(OTHERS, users):
            busy = user % 2 == 1
            there.make_cold(user)
            # The same request twice: the second finds the stack in the bank, and joins the others just as well.
            cold, warm = (
                _joining(running, others if busy else [], there.request(user, query), new_tokens) for _ in range(2)
            )
            found[busy].append((cold, warm))
    return [
        *_first_tokens("nobody else asking", found[False]),
        *_first_tokens(f"{OTHERS} others answered", found[True]),
        *_gaps(found[True]),
    ]


@dataclass(frozen=True)
class _Joined:
    """A request that came while others were answered: milliseconds.

    Args:
        first: to its first token.
        gap: the others' largest between two tokens until it was complete.
        step: theirs between two tokens before it came, the median.
    """

    first: float
    gap: float
    step: float


_Pair = tuple[_Joined, _Joined]
"""Cold, then warm."""


def _first_tokens(when: str, pairs: Sequence[_Pair]) -> list[Row]:
    cold, warm = ([one[i].first for one in pairs] for i in range(2))
    added = [before - after for before, after in zip(cold, warm, strict=True)]
    return [
        alone(f"a cold stack: time to first token, {when}", "ms", cold),
        alone(f"the same again, warm: time to first token, {when}", "ms", warm),
        limited(f"a cold stack: added time to first token, {when}", "ms", added, COLD_LIMIT_MS),
    ]


def _gaps(pairs: Sequence[_Pair]) -> list[Row]:
    """Whoever joins has a prompt read, so the others wait: what reading a stack adds to that is what counts."""
    cold, warm = ([one[i].gap for one in pairs] for i in range(2))
    added = [max(0.0, before - after) for before, after in zip(cold, warm, strict=True)]
    steps, what = [one.step for one, _ in pairs], f"largest gap between tokens of {OTHERS} others while a stack is read"
    return [
        compared(what, "ms", cold, warm, "the same request, stack loaded"),
        compared(f"{what}: added by reading it", "ms", added, steps, "one decoding step", target=1.0),
    ]


def _joining(
    running: AnsweringEngine, others: Sequence[ours.Request], request: ours.Request, new_tokens: int
) -> _Joined:
    """The request, once every one of the others is being answered."""
    with ThreadPoolExecutor(len(others) + 1) as readers:
        answers = [ours.ask(running, other, 20 * new_tokens) for other in others]
        begun = threading.Semaphore(0)

        def follow(answer: Answer) -> list[float]:
            times = []
            for _ in answer:
                times.append(time.perf_counter())
                if len(times) == 4:
                    begun.release()
            return times

        read = [readers.submit(follow, answer) for answer in answers]
        for _ in read:
            begun.acquire(timeout=60)
        began = time.perf_counter()
        times = ours.stamps(ours.ask(running, request, new_tokens))
        for answer in answers:
            answer.cancel()
        seen = [[at for at in one.result() if at <= times[-1]] for one in read]
    gaps = [(b - a, b) for own in seen for a, b in pairwise(own)]
    # The gap under way when the request came counts as well.
    inside, before = [gap for gap, end in gaps if end >= began], [gap for gap, end in gaps if end < began]
    return _Joined(1e3 * (times[0] - began), 1e3 * max(inside, default=0.0), 1e3 * median(before or [0.0]))


def crowd_rows(
    base: Base, queries: Sequence[str], threads: int, *, repeats: int, requests: int = 128, new_tokens: int = 16
) -> list[Row]:
    """Throughput and times with 1, 2, 4 and 16 times as many users as places, who ask in turn: a bank's worst case."""
    with (
        stored(base, PLACES * max(MULTIPLES)) as there,
        ours.engine(base, rows=PLACES, bank_stacks=PLACES, queue=PLACES, threads=threads) as running,
    ):

        def of(multiple: int) -> Round:
            active = PLACES * multiple
            asked = [there.request(i % active, queries[i % len(queries)]) for i in range(requests)]
            return ours.by_clients(running, asked, new_tokens, PLACES)

        contenders = {str(multiple): lambda multiple=multiple: of(multiple) for multiple in MULTIPLES}
        found = in_turn(contenders, repeats, threads=threads)
    rows: list[Row] = []
    fitting = f"{PLACES} users in {PLACES} places"
    for multiple in MULTIPLES:
        name, rounds, as_many = f"{PLACES * multiple} users in {PLACES} places", found[str(multiple)], found["1"]
        for what, unit, value in _FIGURES:
            of_ours, of_fitting = [value(one) for one in rounds], [value(one) for one in as_many]
            if multiple == 1:
                rows.append(alone(f"{name}: {what}", unit, of_ours))
            else:
                rows.append(compared(f"{name}: {what}", unit, of_ours, of_fitting, fitting))
    return rows


_FIGURES = (
    ("throughput", "tokens/s", lambda one: one.tokens_per_second),
    ("time to first token, p50", "ms", LATENCIES["time to first token, p50"]),
    ("time to first token, p99", "ms", LATENCIES["time to first token, p99"]),
)
