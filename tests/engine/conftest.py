"""Bases that the engine's tests run on: the small trained one, and tiny random ones of every architecture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from engine.answering import AnsweringEngine
from engine.base import Base, load_base
from engine.configuration import Configuration
from engine.decoding import Row, generate
from engine.prompts import messages_for
from engine.stack import Stack, active_projections
from tests.support.families import BASE_MODEL, save_tiny_model


@pytest.fixture(scope="session")
def small_base() -> Base:
    return load_base(str(BASE_MODEL), device="cpu", dtype="float32", threads=1)


@pytest.fixture(scope="session")
def rounded_base() -> Base:
    """The small base in the precision that it is served in where the hardware multiplies it."""
    return load_base(str(BASE_MODEL), device="cpu", dtype="bfloat16", threads=1)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Base]:
    """Tiny random base of a family, float32, made once."""
    made: dict[str, Base] = {}

    def make(family: str) -> Base:
        if family not in made:
            folder: Path = save_tiny_model(family, tmp_path_factory.mktemp(family.split()[0]))
            made[family] = load_base(str(folder), device="cpu", dtype="float32", threads=1)
        return made[family]

    return make


def random_stack(base: Base, configuration: Configuration, seed: int, scale: float = 0.05) -> Stack:
    """A stack whose A's and B's are all random, as after training."""
    generator = torch.Generator().manual_seed(seed)
    rank = configuration.total_rank
    chosen = active_projections(base.projections, configuration)
    return Stack(
        configuration,
        {p.name: scale * torch.randn(rank, p.d_in, generator=generator) for p in chosen},
        {p.name: scale * torch.randn(p.d_out, rank, generator=generator) for p in chosen},
    )


def expected_text(base: Base, query: str, stack: Stack | None, tokens: int) -> str:
    row = Row(base.format.prompt_ids(messages_for(query)), stack, tokens)
    generate(base, [row])
    return base.format.decode(row.tokens)


@pytest.fixture
def start(small_base: Base) -> Iterator[Callable[..., AnsweringEngine]]:
    engines: list[AnsweringEngine] = []

    def make(rows: int = 4, waiting: int = 8, stacks: int = 2) -> AnsweringEngine:
        engine = AnsweringEngine(small_base, max_batch_rows=rows, max_queue=waiting, bank_stacks=stacks)
        engine.start()
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.close()
