"""Users who come again: the time to the first token of a conversation's next answer, its beginning known or read anew.

The beginning is a memory prompt (the profile, past pairs as turns) and the answer before. Must not know peers or HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from statistics import median

from benchmarks.material import History, default_lora
from benchmarks.results_file import Row, compared
from benchmarks.rounds import in_turn
from benchmarks.serve import ours
from engine.answering import AnsweringEngine
from engine.base import Base
from engine.prompts import Message, messages_for

PAIRS = 3
"""Past pairs in the prompt, as the service puts them there by default."""
USERS = (1, 8)
NEW_TOKENS = 8
KNOWN, ANEW = "known", "the same engine, every prompt read anew"


def prefix_rows(
    base: Base, history: History, threads: int, *, repeats: int, users: Sequence[int] = USERS, pairs: int = PAIRS
) -> list[Row]:
    """Rows of one user alone, and of several at once, each with a stack of their own."""
    queries = [sample.query for sample in history.split.validation]
    first = messages_for(queries[0], profile=history.profile, memory=history.split.train[-pairs:])
    second = Message("user", queries[1])
    tokens = len(base.format.prompt_ids([*first, second]))
    there = ours.Users(base, default_lora, max(users))
    rounds, rows = count(), []
    with ours.engine(base, rows=max(users), bank_stacks=max(users), queue=max(users), threads=threads) as running:
        for some in users:

            def again(named: bool, some: int = some) -> float:
                owner = f"round-{next(rounds)}" if named else ""
                ask = partial(_next_first_token, running, there, owner, first, second)
                with ThreadPoolExecutor(some) as pool:
                    return 1e3 * median(pool.map(ask, range(some)))

            contenders: dict[str, Callable[[], float]] = {KNOWN: partial(again, True), ANEW: partial(again, False)}
            found = in_turn(contenders, repeats, threads=threads)
            what = f"{some} user{'s' * (some > 1)} with {tokens} tokens of prompt come again: time to first token, p50"
            rows.append(compared(what, "ms", found[KNOWN], found[ANEW], ANEW))
    return rows


def _next_first_token(
    running: AnsweringEngine,
    users: ours.Users,
    owner: str,
    first: Sequence[Message],
    second: Message,
    user: int,
) -> float:
    """Seconds to the first token of the user's second answer; without an owner nothing of the first is known."""

    def ask(messages: Sequence[Message]) -> tuple[float, str]:
        began = time.perf_counter()
        answer = running.submit(
            messages,
            stack_key=f"user-{user}",
            load_stack=partial(users.stack, user),
            max_new_tokens=NEW_TOKENS,
            owner=owner and f"{owner}/{user}",
        )
        pieces = iter(answer)
        text = next(pieces)
        seconds = time.perf_counter() - began
        return seconds, text + "".join(pieces)

    _, said = ask(first)
    seconds, _ = ask([*first, Message("assistant", said), second])
    return seconds
