"""Answers of the peers: transformers' `generate` and continuous batching, and PEFT's mixed batches.

Each is used as its documentation says, with the prompts' encoding and the texts' decoding in the time, as in ours.
Must not know the engine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, StoppingCriteria, StoppingCriteriaList

from benchmarks.peers import padded, padding_id
from benchmarks.serve.answers import Round, round_of
from engine.base import Base
from engine.prompts import messages_for


class _Clock(StoppingCriteria):
    """Notes when each token of a batch was there; stops nothing."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:  # noqa: ARG002
        self.times.append(time.perf_counter())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def generate(
    base: Base, model: Any, queries: Sequence[str], new_tokens: int, *, at_once: int = 64, **extra: Any
) -> Round:
    """Padded batches of at most `at_once` prompts, one after another; `extra` goes to `generate`, cut likewise."""
    began, stamps = time.perf_counter(), list[list[float]]()
    for start in range(0, len(queries), at_once):
        chunk = slice(start, start + at_once)
        batch = padded(base, encoded(base, queries[chunk]))
        clock = _Clock()
        ids = model.generate(
            **batch,
            **{name: value[chunk] for name, value in extra.items()},
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=padding_id(base),
            stopping_criteria=StoppingCriteriaList([clock]),
        )
        texts(base, ids[:, batch["input_ids"].shape[1] :].tolist())
        stamps += [[*clock.times, time.perf_counter()]] * len(batch["input_ids"])
    return round_of(began, stamps, new_tokens)


def one_at_a_time(base: Base, model: Any, queries: Sequence[str], names: Sequence[str], new_tokens: int) -> Round:
    """Each user's adapter is set, then the one prompt answered."""
    began, stamps = time.perf_counter(), list[list[float]]()
    for query, name in zip(queries, names, strict=True):
        model.set_adapter(name)
        answered = generate(base, model, [query], new_tokens)
        last = time.perf_counter()
        stamps.append([last - answered.seconds + answered.first[0], last])
    return round_of(began, stamps, new_tokens)


@contextmanager
def _manager(base: Base, model: Any, new_tokens: int, rows: int) -> Iterator[Any]:
    settings = GenerationConfig(
        max_new_tokens=new_tokens, do_sample=False, eos_token_id=-1, pad_token_id=padding_id(base)
    )
    limits = ContinuousBatchingConfig(max_requests_per_batch=rows)
    if base.device.type == "cpu":
        # Sized for GPUs otherwise: a share of all memory there is.
        limits = ContinuousBatchingConfig(max_requests_per_batch=rows, num_blocks=4 * rows, max_batch_tokens=16 * rows)
    with model.continuous_batching_context_manager(
        generation_config=settings, continuous_batching_config=limits
    ) as manager:
        yield manager


@torch.no_grad()
def continuous(base: Base, model: Any, queries: Sequence[str], new_tokens: int, rows: int) -> Round:
    """What `generate_batch` does, without the time its manager takes to be set up and ended."""
    with _manager(base, model, new_tokens, rows) as manager:
        began = time.perf_counter()
        manager.add_requests(encoded(base, queries), max_new_tokens=new_tokens, record_timestamps=True)
        stamps: list[list[float]] = []
        while len(stamps) < len(queries):
            result = manager.get_result(timeout=1)
            if result is not None and result.is_finished():
                texts(base, [result.generated_tokens])
                stamps.append([*result.timestamps, time.perf_counter()])
            elif result is None and not manager.is_running():
                raise RuntimeError("transformers' continuous batching ended before its answers did")
        return round_of(began, stamps, new_tokens)


def encoded(base: Base, queries: Sequence[str]) -> list[list[int]]:
    return [base.format.prompt_ids(messages_for(query)) for query in queries]


def texts(base: Base, ids: Sequence[Sequence[int]]) -> list[str]:
    return [base.format.decode(own) for own in ids]
