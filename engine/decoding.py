"""Rows decoded side by side, each with its own stack: they join and leave while the others go on.

Prompts that join are read end to end, in one forward without padding; what a row has said lies in a place of its own
(engine.key_values), so a row that comes or goes leaves the others where they are. Must not know queues, threads or
users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, zip_longest
from typing import Literal

import torch
from torch import Tensor

from engine.base import Base
from engine.errors import TrainingStoppedError
from engine.grouped import Route, Routing
from engine.key_values import KeyValues
from engine.prefixes import PrefixCache, PrefixKey
from engine.row_route import RowRoute, Stretches, has_kernel, takes
from engine.stack import Stack
from engine.step_graphs import Record, StepGraphs

GREEDY_BELOW = 1e-5
"""Temperatures under this are greedy: divided by less, logits overflow in float32."""
PROMPT_TOKENS = 4096
"""Most tokens of prompts that are read in one forward, whatever the number of rows: what it needs for a moment grows
with them, and memory that once was needed is hard to give back."""
FEW_ROWS = 2
"""Rows a stack up to which they are taken one by one; more of the same are worth a product of matrices."""

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen: temperature 0 is greedy; `seed` makes sampling repeatable."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


@dataclass(eq=False)
class Row:
    """One answer in the making.

    Args:
        prompt: ids of the prompt.
        stack: the stack it is answered with; None is the base.
        max_new_tokens: longest answer, tokens.
        prefix_key: under which its beginning is looked for and kept; None: neither.
    """

    prompt: Sequence[int]
    stack: Stack | None
    max_new_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    prefix_key: PrefixKey | None = None
    tokens: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    _generator: torch.Generator | None = None

    @property
    def is_greedy(self) -> bool:
        return self.sampling.temperature < GREEDY_BELOW

    def choose(self, logits: Tensor) -> int:
        """The next token from its logits (vocabulary)."""
        if self.is_greedy:
            return int(logits.argmax())
        if self._generator is None:
            self._generator = torch.Generator()
            self._generator.manual_seed(
                self.sampling.seed
            ) if self.sampling.seed is not None else self._generator.seed()
        probabilities = torch.softmax(logits.cpu() / self.sampling.temperature, dim=-1)
        if not probabilities.isfinite().all():
            # A stack whose numbers overflow; the answers beside this one must not fail for it.
            return int(logits.argmax())
        ordered, ids = probabilities.sort(descending=True)
        # Keep the fewest most likely tokens whose mass reaches top_p (nucleus sampling, Holtzman et al. 2020), at least
        # one: a top_p that float32 has no number for is 0 there.
        ordered[1:][(ordered.cumsum(0) - ordered)[1:] >= self.sampling.top_p] = 0
        return int(ids[torch.multinomial(ordered, 1, generator=self._generator)])


class DecodingBatch:
    """The rows now being decoded, and what is kept of them.

    Args:
        prefixes: where beginnings of prompts are looked for and kept.
        record: how steps are recorded, to be replayed; None: they are not.
    """

    def __init__(self, base: Base, prefixes: PrefixCache | None = None, record: Record | None = None) -> None:
        self._base = base
        self._prefixes = prefixes
        self._kept = KeyValues()
        self._by_row = RowRoute(base.projections, base.device) if has_kernel(base.device) else None
        self._graphs = StepGraphs(base, self._kept, self._by_row, record) if record and self._by_row else None
        self._by_graph = False
        self._route: Routing | None = None
        self.rows: list[Row] = []

    @property
    def recordings(self) -> int:
        """How many sizes of a step are recorded at present."""
        return 0 if self._graphs is None else self._graphs.count

    @torch.inference_mode()
    def admit(self, rows: Sequence[Row]) -> None:
        """Read the prompts of `rows`, give each its first token, and let them join."""
        for some in _readable_at_once(rows):
            self._admit(some)

    def _admit(self, rows: Sequence[Row]) -> None:
        pasts = [self._prefixes.find(row.prefix_key, row.prompt) for row in rows] if self._prefixes else []
        unread = [row.prompt[past.length if past else 0 :] for row, past in zip_longest(rows, pasts)]
        ids = torch.tensor([token for some in unread for token in some], device=self._base.device)
        lengths = [len(some) for some in unread]
        route = _route(self._base, rows, lengths)
        hidden = self._base.hidden_states(ids.unsqueeze(0), self._kept.prompts(lengths, pasts), route=route)
        ends = torch.tensor(lengths, device=self._base.device).cumsum(0) - 1
        _say(self._base, rows, self._base.logits(hidden[0, ends]))
        self.rows += rows
        self._route = None
        if self._by_row is not None:
            for row in rows:
                self._by_row.join(row.stack)

    @torch.inference_mode()
    def step(self) -> None:
        """One more token for every row."""
        if not self.rows:
            return
        if self._route is None:
            self._by_graph, self._route = self._routing()
        last = [row.tokens[-1] for row in self.rows]
        replayed = self._graphs.step(last) if self._graphs is not None and self._by_graph else None
        if replayed is not None:
            _say(self._base, self.rows, *replayed)
            return
        ids = torch.tensor(last, device=self._base.device).unsqueeze(1)
        hidden = self._base.hidden_states(ids, self._kept.step(self._base.device), route=self._route)
        _say(self._base, self.rows, self._base.logits(hidden[:, 0]))

    @torch.inference_mode()
    def release_finished(self) -> list[Row]:
        """Let the rows that have a finish reason leave, and give their place free; returns them."""
        finished = [row for row in self.rows if row.finish_reason is not None]
        for place in reversed(range(len(self.rows))):
            if self.rows[place].finish_reason is not None:
                self._remember(place)
                self._kept.leave(place)
                if self._by_row is not None:
                    self._by_row.leave(place)
                last = self.rows.pop()
                if place < len(self.rows):
                    self.rows[place] = last
        if finished:
            self._route = None
        return finished

    def _remember(self, place: int) -> None:
        row = self.rows[place]
        if self._prefixes is None or row.prefix_key is None:
            return
        read = [*row.prompt, *row.tokens][: self._kept.lengths[place]]
        self._prefixes.keep(lambda: row.prefix_key, read, self._kept.copy(place))

    def _routing(self) -> tuple[bool, Routing]:
        """Whether steps may be recorded, which go row by row; and how others go: row by row where the rows' stacks are
        many, else by stretches of one stack."""
        stacks = {id(row.stack): row.stack for row in self.rows}
        by_row = self._by_row if all(map(takes, stacks.values())) else None
        by_graph = self._graphs is not None and by_row is not None
        if by_row is not None and FEW_ROWS * len(stacks) >= len(self.rows):
            return by_graph, by_row
        return by_graph, _route(self._base, self.rows, [1] * len(self.rows))


def generate(
    base: Base, rows: Sequence[Row], *, max_rows: int = 64, should_stop: Callable[[], bool] = lambda: False
) -> None:
    """Answer all rows, at most `max_rows` side by side; afterwards each has its tokens and finish reason.

    Raises:
        TrainingStoppedError: `should_stop` said so between two tokens.
    """
    waiting = list(reversed(rows))
    batch = DecodingBatch(base)
    while waiting or batch.rows:
        if should_stop():
            raise TrainingStoppedError("answering was stopped")
        # Reading prompts makes those who decode wait, so places are refilled many at a time.
        free = max_rows - len(batch.rows)
        if waiting and free >= max(1, max_rows // 4):
            batch.admit([waiting.pop() for _ in range(min(free, len(waiting)))])
        else:
            batch.step()
        batch.release_finished()


def _readable_at_once(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The rows in their order, as many together as `PROMPT_TOKENS` allow, at least one."""
    some: list[Row] = []
    for row in rows:
        if some and sum(len(r.prompt) for r in some) + len(row.prompt) > PROMPT_TOKENS:
            yield some
            some = []
        some.append(row)
    if some:
        yield some


def _say(base: Base, rows: Sequence[Row], logits: Tensor, likeliest: Sequence[int] | None = None) -> None:
    """Choose each row's next token from its logits (rows x vocabulary)."""
    greedy = likeliest or logits.argmax(dim=-1).tolist()
    for i, row in enumerate(rows):
        token = greedy[i] if row.is_greedy else row.choose(logits[i])
        row.tokens.append(token)
        if token in base.end_ids:
            row.tokens.pop()
            row.finish_reason = "stop"
        elif len(row.tokens) >= row.max_new_tokens:
            row.finish_reason = "length"


def _route(base: Base, rows: Sequence[Row], tokens: Sequence[int]) -> Routing:
    """Neighbours with the same stack are one stretch; `tokens` is how many each row has in the batch."""
    groups: list[tuple[int, Stack | None]] = []
    for _, run in groupby(zip(rows, tokens, strict=True), key=lambda pair: id(pair[0].stack)):
        members = list(run)
        groups.append((sum(tokens for _, tokens in members), members[0][0].stack))
    if base.device.type == "cpu":
        return Stretches(base.projections, groups)
    return Route.of((count, stack.a, stack.b) if stack is not None else (count, {}, {}) for count, stack in groups)
