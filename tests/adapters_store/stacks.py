"""Stacks and bases small enough to be written and damaged a thousand times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from adapters_store.record import Provenance
from engine.configuration import Configuration
from engine.projections import Projection
from engine.stack import Stack, active_projections

BASE_DIGEST = "b" * 64


@dataclass(frozen=True)
class SmallBase:
    """A base as the store sees one: two layers with three projections each."""

    digest: str = BASE_DIGEST
    n_layers: int = 2
    projections: tuple[Projection, ...] = field(default_factory=lambda: projections(2))


def projections(n_layers: int, d_model: int = 6, d_hidden: int = 10) -> tuple[Projection, ...]:
    sizes = {"gate_proj": (d_model, d_hidden), "up_proj": (d_model, d_hidden), "down_proj": (d_hidden, d_model)}
    return tuple(
        Projection(f"model.layers.{layer}.mlp.{name}", layer, d_in, d_out, transposed=False)
        for layer in range(n_layers)
        for name, (d_in, d_out) in sizes.items()
    )


def random_stack(
    configuration: Configuration | None = None,
    of: Sequence[Projection] = projections(2),
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Stack:
    """A stack with random A and B, both well away from zero."""
    configuration = configuration or Configuration((True, False), 2, 8)
    generator = torch.Generator().manual_seed(seed)
    rank = configuration.total_rank
    a, b = {}, {}
    for projection in active_projections(of, configuration):
        a[projection.name] = torch.randn(rank, projection.d_in, generator=generator).to(dtype)
        b[projection.name] = torch.randn(projection.d_out, rank, generator=generator).to(dtype)
    return Stack(configuration, a, b)


def provenance(base_digest: str = BASE_DIGEST, *, fan_in_fan_out: bool = False) -> Provenance:
    return Provenance(
        base_name="small-base",
        base_digest=base_digest,
        model_type="llama",
        fan_in_fan_out=fan_in_fan_out,
        metrics={"rouge_l": 21.5},
        sample_digests=["0" * 64, "1" * 64],
        seed=7,
        options={"preset": "quick"},
    )


def same(left: Stack, right: Stack) -> bool:
    """Whether two stacks are equal bit for bit."""
    return (
        left.configuration == right.configuration
        and all(set(x) == set(y) for x, y in ((left.a, right.a), (left.b, right.b)))
        and all(left.a[n].dtype == right.a[n].dtype and torch.equal(left.a[n], right.a[n]) for n in left.a)
        and all(left.b[n].dtype == right.b[n].dtype and torch.equal(left.b[n], right.b[n]) for n in left.b)
    )
