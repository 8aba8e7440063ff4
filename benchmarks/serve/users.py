"""So many distinct users who ask at the same moment: this project's engine against each peer, cell by cell.

A cell is a number of users and a mix of stacks. Must not know stores or HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median

from benchmarks.material import MIXES
from benchmarks.peers import endless, fresh_model, with_adapters
from benchmarks.results_file import Row, compared
from benchmarks.rounds import in_turn
from benchmarks.serve import ours, theirs
from benchmarks.serve.answers import LATENCIES, Round
from engine.base import Base

OURS = "ours"
BASE_ALONE = "the base alone in the same engine"
PEFT_BATCH = "PEFT, one batch of adapter_names"
PEFT_SINGLY = "PEFT, one user at a time"
GENERATE = "transformers, the base alone, padded generate"
CONTINUOUS = "transformers, the base alone, continuous batching"

HEADLINE = ("default LoRA", 32)
BEST_OF_TRANSFORMERS = "the better of transformers'"
TARGETS = {BASE_ALONE: 0.80, PEFT_BATCH: 5.0, BEST_OF_TRANSFORMERS: 1.0}
"""Ratios of tokens per second to reach in the headline's cell, on a CPU."""

MOST_ROWS = 64
"""Answers side by side, ours and theirs; also most users PEFT is given, for it has all of them in one batch."""
SINGLY = 8
"""Users of a cell whom PEFT answers one at a time: more would take longer, not faster."""


@dataclass(frozen=True)
class Cell:
    """So many users, whose stacks are of one mix, measured so often.

    Attributes:
        rows: answers decoded side by side.
        bank: places for stacks; users beyond them make room for each other.
    """

    mix: str
    users: int
    repeats: int
    new_tokens: int = 32

    @property
    def rows(self) -> int:
        return min(self.users, MOST_ROWS)

    @property
    def bank(self) -> int:
        return self.users if self.users <= MOST_ROWS else 4 * MOST_ROWS

    @property
    def name(self) -> str:
        places = f", {self.bank} places" if self.bank < self.users else ""
        return f"{self.users:,} user{'s' * (self.users > 1)}, {self.mix}{places}"


def measure(
    base: Base, cell: Cell, queries: Sequence[str], threads: int, targets: Mapping[str, float] | None = None
) -> list[Row]:
    """The rows of a cell. `targets` are ratios of tokens per second; without any, the headline has its own on a CPU."""
    with contenders(base, cell, queries, threads) as entered:
        found = in_turn(entered, cell.repeats, threads=threads)
    is_headline = base.device.type == "cpu" and (cell.mix, cell.users) == HEADLINE
    return rows(cell, found, targets or (TARGETS if is_headline else {}))


@contextmanager
def contenders(
    base: Base, cell: Cell, queries: Sequence[str], threads: int
) -> Iterator[dict[str, Callable[[], Round]]]:
    """Each contender's round: the same prompts and the same number of tokens."""
    users = ours.Users(base, MIXES[cell.mix], cell.users)
    asked, tokens = [queries[user % len(queries)] for user in range(cell.users)], cell.new_tokens
    ask_ours = users.requests(queries)
    ask_base: list[ours.Request] = [(query, None, None) for query in asked]
    plain, batching = endless(fresh_model(base)), endless(fresh_model(base))
    engine = ours.engine(base, rows=cell.rows, bank_stacks=cell.bank, queue=cell.users, threads=threads)
    with engine as running:
        entered: dict[str, Callable[[], Round]] = {
            OURS: partial(ours.all_at_once, running, ask_ours, tokens),
            BASE_ALONE: partial(ours.all_at_once, running, ask_base, tokens),
            GENERATE: partial(theirs.generate, base, plain, asked, tokens, at_once=cell.rows),
            CONTINUOUS: partial(theirs.continuous, base, batching, asked, tokens, cell.rows),
        }
        if cell.users <= MOST_ROWS:
            names = [f"user-{user}" for user in range(cell.users)]
            stacks = {name: users.stack(user) for user, name in enumerate(names)}
            adapted = with_adapters(base, endless(fresh_model(base)), stacks)
            entered[PEFT_BATCH] = partial(theirs.generate, base, adapted, asked, tokens, adapter_names=names)
            entered[PEFT_SINGLY] = partial(theirs.one_at_a_time, base, adapted, asked[:SINGLY], names[:SINGLY], tokens)
        yield entered


def rows(cell: Cell, found: dict[str, list[Round]], targets: Mapping[str, float]) -> list[Row]:
    """Tokens per second and times against every peer."""
    speeds = {name: [one.tokens_per_second for one in rounds] for name, rounds in found.items()}
    best = max((GENERATE, CONTINUOUS), key=lambda name: median(speeds[name]))
    made = []
    for name in speeds:
        if name != OURS:
            target = targets.get(BEST_OF_TRANSFORMERS) if name == best else targets.get(name)
            made.append(compared(cell.name, "tokens/s", speeds[OURS], speeds[name], name, target))
    for what, latency in LATENCIES.items():
        times = {name: [latency(one) for one in rounds] for name, rounds in found.items()}
        made += [
            compared(f"{cell.name}: {what}", "ms", times[OURS], times[name], name) for name in times if name != OURS
        ]
    return made
