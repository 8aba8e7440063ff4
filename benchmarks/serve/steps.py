"""A decoding step of many users' rows on Llamas of random weights: what their stacks and the engine itself cost.

On a GPU the engine records its steps (engine.step_graphs); the same step made operation by operation says what that is
worth. Must not know peers or HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from benchmarks.material import default_lora, generated_stack
from benchmarks.results_file import Row, compared, limited
from benchmarks.rounds import in_turn
from benchmarks.serve.users import BASE_ALONE
from benchmarks.shapes import Shape, random_base
from engine.bank import placed
from engine.base import Base
from engine.decoding import DecodingBatch
from engine.decoding import Row as Answer
from engine.prompts import messages_for
from engine.stack import Stack
from engine.step_graphs import recorder

ROWS = 64
PROMPT_TOKENS = 140
STEPS, WARM = 64, 8
"""Steps a round measures, and those before. All look back within one width, so by then they are recorded."""
OF_BASE_ALONE = 1 / 1.3
"""How fast a step shall be beside the base's own."""
OURS, SINGLY = "recorded", "the same, operation by operation"


def measure(
    shape: Shape,
    queries: Sequence[str],
    threads: int,
    *,
    repeats: int,
    rows: int = ROWS,
    device: str = "cuda",
    dtype: torch.dtype = torch.bfloat16,
) -> list[Row]:
    """One shape's rows: every user has a stack of their own, one LoRA of rank 16 on every layer."""
    base, _ = random_base(shape, device, dtype)
    base.end_ids = frozenset()
    stacks = [placed(generated_stack(base, default_lora(base, user), seed=user), base) for user in range(rows)]
    asked = [_prompt(base, queries[user % len(queries)]) for user in range(rows)]
    nobodys: list[Stack | None] = [None] * rows
    contenders: dict[str, Callable[[], float]] = {
        OURS: partial(_step_ms, base, asked, stacks, recorded=True),
        BASE_ALONE: partial(_step_ms, base, asked, nobodys, recorded=True),
        SINGLY: partial(_step_ms, base, asked, stacks, recorded=False),
    }
    found = in_turn(contenders, repeats, threads=threads)
    what = f"{shape.name}, random weights: a decoding step of {rows} rows of {rows} users"
    made = [
        compared(what, "ms", found[OURS], found[BASE_ALONE], BASE_ALONE, OF_BASE_ALONE),
        compared(what, "ms", found[OURS], found[SINGLY], SINGLY),
    ]
    return made if shape.step_ms is None else [*made, limited(what, "ms", found[OURS], shape.step_ms)]


def _step_ms(base: Base, asked: Sequence[Sequence[int]], stacks: Sequence[Stack | None], *, recorded: bool) -> float:
    """Milliseconds of a step, the mean over many."""
    record = recorder(base.device) if recorded else None
    batch = DecodingBatch(base, record=record)
    batch.admit([Answer(prompt, stack, WARM + STEPS + 1) for prompt, stack in zip(asked, stacks, strict=True)])
    for _ in range(WARM):
        batch.step()
    if record is not None and not batch.recordings:
        raise RuntimeError("no step was recorded, so there is nothing to measure: see the warning above")
    began = time.perf_counter()
    for _ in range(STEPS):  # each ends with its tokens on the host, so nothing is left to wait for
        batch.step()
    return 1e3 * (time.perf_counter() - began) / STEPS


def _prompt(base: Base, query: str) -> list[int]:
    """The query's prompt, repeated to a fixed length."""
    ids = base.format.prompt_ids(messages_for(query))
    return (ids * (PROMPT_TOKENS // len(ids) + 1))[:PROMPT_TOKENS]
