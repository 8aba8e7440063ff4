"""Recorded decoding steps answer as those made operation by operation, while rows come, go and grow.

A recording is played here as a GPU plays it: the same operations, on the same memory, with whatever lies there now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import masking_utils

from engine import row_kernel, row_kernel_gpu, step_graphs
from engine.bank import placed
from engine.base import Base
from engine.configuration import Configuration
from engine.decoding import DecodingBatch, Row, Sampling
from engine.prompts import messages_for
from engine.stack import Stack
from engine.step_graphs import WORTH_RECORDING, Size, Step
from tests.engine.conftest import random_stack
from tests.support.families import CONFIGS

QUICK = ("llama", "mistral", "gemma2", "gpt2", "roberta")
"""Families of the quick tests: one of each kind of attention and of positions."""
QUERIES = ["hello", "what is the weather like in the old town by the river?", "why", "tell me a story", "and then?"]


class Tape(TorchDispatchMode):
    """Every operation made inside, with the tensors it read and wrote."""

    def __init__(self) -> None:
        super().__init__()
        self._made: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "a GPU would have to be waited for"
        out = func(*args, **(kwargs or {}))
        memory = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs)) if _is_tensor(leaf)}
        written = [leaf for leaf in tree_leaves(out) if _is_tensor(leaf)]
        if func._schema.is_mutable:
            self._made.append((func, args, kwargs or {}, []))
        elif not any(leaf.untyped_storage().data_ptr() in memory for leaf in written):
            self._made.append((func, args, kwargs or {}, written))
        return out

    def note(self, call: Callable[..., None], *args: Any) -> None:
        """Something that writes in place without torch's operations."""
        call(*args)
        self._made.append((call, args, {}, []))

    def play(self) -> None:
        for call, args, named, written in self._made:
            new = [leaf for leaf in tree_leaves(call(*args, **named)) if _is_tensor(leaf)]
            for old, value in zip(written, new, strict=False):
                old.copy_(value)


def _is_tensor(leaf: object) -> bool:
    return isinstance(leaf, Tensor)


class Recorder:
    """Records on tapes, and counts them."""

    def __init__(self) -> None:
        self.tapes: list[Tape] = []

    def __call__(self, step: Step) -> tuple[Callable[[], None], tuple[Tensor, Tensor]]:
        step()
        tape = Tape()
        self.tapes.append(tape)
        with tape:
            outputs = step()
        return tape.play, outputs


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """With the CPU's kernel in place of the GPU's, which reads the same table."""
    recorder = Recorder()

    def add_rows(x: Tensor, y: Tensor, table: Tensor, projection: int, largest_rank: int) -> None:
        assert int(table[: len(x), projection, row_kernel.RANK].max()) <= largest_rank
        row_kernel.add_rows(x, y, table.numpy(), projection)

    def noted(*args: Any) -> None:
        mode = torch.utils._python_dispatch._get_current_dispatch_mode()
        if isinstance(mode, Tape):
            with torch.utils._python_dispatch._disable_current_modes():
                mode.note(add_rows, *args)
        else:
            add_rows(*args)

    monkeypatch.setattr(row_kernel_gpu, "add_rows", noted)
    # As transformers finds it while a GPU's stream is being captured.
    monkeypatch.setattr(masking_utils, "is_tracing", lambda _tensor=None: True)
    return recorder


def stacks_of(base: Base) -> list[Stack | None]:
    every, last = (True,) * base.n_layers, (False,) * (base.n_layers - 1) + (True,)
    made: list[Stack | None] = [None]
    for seed, configuration in enumerate(
        [Configuration(every, 1, 8), Configuration(last, 3, 16), Configuration(every, 2, 32), Configuration(last, 1, 8)]
    ):
        made.append(placed(random_stack(base, configuration, seed), base))
    return made


def rows_of(base: Base, new_tokens: Sequence[int], sampling: Sampling | None = None) -> list[Row]:
    return [
        Row(base.format.prompt_ids(messages_for(query)), stack, count, sampling or Sampling())
        for query, stack, count in zip(QUERIES, stacks_of(base), new_tokens, strict=True)
    ]


def decoded(batch: DecodingBatch, rows: Sequence[Row], joining: int = 2) -> list[list[int]]:
    """Two join at a time, three steps apart; who has ended leaves."""
    waiting = list(rows)
    while waiting or batch.rows:
        batch.admit([waiting.pop(0) for _ in range(min(joining, len(waiting)))])
        for _ in range(3):
            batch.step()
            batch.release_finished()
    return [row.tokens for row in rows]


@pytest.mark.parametrize(
    "family", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS if name not in QUICK)]
)
def test_rows_that_come_and_go_say_the_same_recorded_as_operation_by_operation(
    family: str, tiny_base: Callable[[str], Base], record: Recorder
) -> None:
    base = tiny_base(family)
    base_ends, base.end_ids = base.end_ids, frozenset()
    try:
        new_tokens = [90, 12, 40, 7, 25]
        plain = decoded(DecodingBatch(base), rows_of(base, new_tokens))
        recorded = decoded(DecodingBatch(base, record=record), rows_of(base, new_tokens))
    finally:
        base.end_ids = base_ends

    assert [len(tokens) for tokens in plain] == new_tokens
    assert recorded == plain
    assert len(record.tapes) >= 3


def test_sampled_rows_say_the_same_too(tiny_base: Callable[[str], Base], record: Recorder) -> None:
    base = tiny_base("llama")
    sampling = Sampling(temperature=1.0, seed=4)
    plain = decoded(DecodingBatch(base), rows_of(base, [20] * 5, sampling))

    assert decoded(DecodingBatch(base, record=record), rows_of(base, [20] * 5, sampling)) == plain
    assert record.tapes


def test_a_size_is_recorded_once_it_has_come_back_and_then_only_replayed(
    tiny_base: Callable[[str], Base], record: Recorder
) -> None:
    base = tiny_base("llama")
    batch = DecodingBatch(base, record=record)
    batch.admit(rows_of(base, [40] * 5))

    for step in range(1, 12):
        batch.step()
        assert len(record.tapes) == batch.recordings == (step >= WORTH_RECORDING)


def test_what_was_recorded_is_not_played_once_keys_and_values_lie_elsewhere(
    tiny_base: Callable[[str], Base], record: Recorder
) -> None:
    base = tiny_base("llama")
    batch = DecodingBatch(base, record=record)
    first, second = rows_of(base, [30] * 5)[:2]
    batch.admit([first])
    for _ in range(5):
        batch.step()
    # A long prompt takes more places than there are; when it has gone, the size is what it was before.
    batch.admit([Row([7] * 200, None, 1), second])
    batch.release_finished()
    second.finish_reason = "cancelled"
    batch.release_finished()
    for _ in range(5):
        batch.step()

    alone = rows_of(base, [30] * 5)[0]
    other = DecodingBatch(base)
    other.admit([alone])
    for _ in range(10):
        other.step()
    assert first.tokens == alone.tokens
    assert len(record.tapes) == 2


def test_a_base_that_cannot_be_recorded_answers_all_the_same(tiny_base: Callable[[str], Base]) -> None:
    base, tried = tiny_base("llama"), list[Step]()

    def refuse(step: Step) -> None:
        tried.append(step)

    rows = rows_of(base, [12] * 5)
    for row in rows:
        row.stack = None
    expected = decoded(DecodingBatch(base), [Row(row.prompt, None, 12) for row in rows])

    assert decoded(DecodingBatch(base, record=refuse), rows) == expected
    assert tried


def test_what_a_row_that_overflowed_leaves_behind_reaches_no_later_row(
    tiny_base: Callable[[str], Base], record: Recorder
) -> None:
    base = tiny_base("llama")
    (row,) = rows_of(base, [20] * 5)[:1]
    batch, alone = DecodingBatch(base, record=record), Row(row.prompt, None, 20)
    batch.admit([Row([7] * 60, None, 1)])
    with torch.inference_mode():
        for kept in (tensor for pair in batch._kept._layers.values() for tensor in pair):
            kept[0, :, :60] = float("nan")
    batch.release_finished()
    decoded(batch, [row])
    decoded(DecodingBatch(base), [alone])

    assert record.tapes
    assert row.tokens == alone.tokens


def test_the_least_used_recordings_make_room(
    tiny_base: Callable[[str], Base], record: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_graphs, "MOST_RECORDINGS", 1)
    base = tiny_base("llama")
    new_tokens = [30, 9, 18, 9, 18]
    plain = decoded(DecodingBatch(base), rows_of(base, new_tokens))
    batch = DecodingBatch(base, record=record)

    assert decoded(batch, rows_of(base, new_tokens)) == plain
    assert batch._graphs is not None
    assert len(batch._graphs._recordings) == 1
    assert len(record.tapes) > 1


@pytest.mark.parametrize(
    ("rows", "width", "rank", "size"),
    [
        (1, 1, 0, Size(1, 64, 0)),
        (3, 64, 8, Size(4, 64, 16)),
        (8, 65, 16, Size(8, 128, 16)),
        (17, 1000, 33, Size(24, 1024, 64)),
    ],
)
def test_a_size_is_rounded_up_so_that_few_hold_all(rows: int, width: int, rank: int, size: Size) -> None:
    assert Size.holding(rows, width, rank) == size
