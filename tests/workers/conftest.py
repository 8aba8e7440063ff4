"""Fixtures of the worker tests: quick settings, and contexts that share one loaded base."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.settings import Settings
from engine.base import Base, load_base
from workers.context import Context


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings under which a trial takes a second or two and learns from every sample, so that tests can tell which
    part it is from."""
    quick = {
        "torch_threads": 1,
        "device": "cpu",
        "dtype": "float32",
        "trials_per_step": 2,
        "batch_size": 8,
        "averaged": 1,
        "typical_share": 1.0,
        "max_new_tokens": 4,
        "max_sequence_tokens": 48,
        # That of the small base: what the tiny one allows by itself leaves little to search.
        "max_total_rank": 160,
        "lease_seconds": 20.0,
        "heartbeat_seconds": 0.5,
    }
    return settings.model_copy(update=quick)


@pytest.fixture(scope="session")
def base(tiny_base: str) -> Base:
    """The settings' base."""
    return load_base(tiny_base, device="cpu", dtype="float32", threads=1)


@pytest.fixture
def sqlite_settings(settings: Settings, sqlite_url: str) -> Settings:
    return settings.model_copy(update={"database_url": sqlite_url})


@pytest.fixture
def context(sqlite_settings: Settings, base: Base) -> Iterator[Context]:
    """A worker's context on SQLite; the base was loaded before."""
    made = Context(sqlite_settings)
    made.base = base
    yield made
    made.database.dispose()
