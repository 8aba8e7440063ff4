"""Answers of this project's engine, timed by a client that reads them as they are streamed.

Must not know peers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import torch

from benchmarks.material import Mix, generated_stack
from benchmarks.serve.answers import Round, round_of
from engine.answer import Answer
from engine.answering import AnsweringEngine
from engine.base import Base
from engine.prompts import messages_for
from engine.stack import Stack

Load = Callable[[], Stack]
Request = tuple[str, str | None, Load | None]
"""A query, the key of the stack that answers it (None: the base), and how that is loaded."""

DISTINCT = 64
"""Generated stacks there are at most: further users have copies of their own of these, at other places in memory."""


def threads() -> int:
    """Torch's, for everybody: all cores."""
    return os.cpu_count() or 1


@contextmanager
def engine(base: Base, *, rows: int, bank_stacks: int, queue: int, threads: int) -> Iterator[AnsweringEngine]:
    """A running engine. Its answers have a fixed length where the base has no `end_ids` (see `endless_base`)."""
    torch.set_num_threads(threads)
    running = AnsweringEngine(base, max_batch_rows=rows, max_queue=queue, bank_stacks=bank_stacks)
    running.start()
    try:
        yield running
    finally:
        running.close()
        torch.set_num_threads(threads)


def endless_base(base: Base) -> Base:
    """The base without tokens that end an answer: this object is the benchmark's own, no service reads it."""
    base.end_ids = frozenset()
    return base


class Users:
    """Users with generated stacks."""

    def __init__(self, base: Base, mix: Mix, count: int) -> None:
        self._base = base
        self.count = count
        self._stacks = [generated_stack(base, mix(base, user), seed=user) for user in range(min(count, DISTINCT))]

    def stack(self, user: int) -> Stack:
        """The user's stack, in memory of its own."""
        known = self._stacks[user % len(self._stacks)]
        a = {name: matrix.clone() for name, matrix in known.a.items()}
        return Stack(known.configuration, a, {name: matrix.clone() for name, matrix in known.b.items()})

    def requests(self, queries: Sequence[str]) -> list[Request]:
        """One request of each user."""
        return [(queries[user % len(queries)], f"user-{user}", partial(self.stack, user)) for user in range(self.count)]


def all_at_once(running: AnsweringEngine, requests: Sequence[Request], new_tokens: int) -> Round:
    """Every request is sent, then every answer read by a thread of its own, as the service does."""
    with ThreadPoolExecutor(len(requests)) as readers:
        began = time.perf_counter()
        reading = [readers.submit(stamps, ask(running, request, new_tokens)) for request in requests]
        return round_of(began, [one.result() for one in reading], new_tokens)


def by_clients(running: AnsweringEngine, requests: Sequence[Request], new_tokens: int, clients: int) -> Round:
    """So many clients work through the requests; each waits for its answer before it sends the next."""

    def one(request: Request) -> tuple[float, list[float]]:
        asked = time.perf_counter()
        return asked, stamps(ask(running, request, new_tokens))

    with ThreadPoolExecutor(clients) as pool:
        began = time.perf_counter()
        done = list(pool.map(one, requests))
    return round_of(began, [times for _, times in done], new_tokens, [asked for asked, _ in done])


def ask(running: AnsweringEngine, request: Request, new_tokens: int) -> Answer:
    query, key, load = request
    return running.submit(messages_for(query), stack_key=key, load_stack=load, max_new_tokens=new_tokens)


def stamps(answer: Answer) -> list[float]:
    """When each piece of the answer's text came, and last when it was complete."""
    times = [time.perf_counter() for _ in answer]
    return [*times, time.perf_counter()]
