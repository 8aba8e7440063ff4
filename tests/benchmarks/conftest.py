"""A tiny random base in a folder, as the benchmarks' two sides load it."""

from __future__ import annotations

import pytest

from engine.base import Base, load_base
from tests.support.families import save_tiny_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model("llama", tmp_path_factory.mktemp("llama")))


@pytest.fixture
def base(tiny_folder: str) -> Base:
    """Loaded anew for each test: benchmarks change what ends an answer."""
    return load_base(tiny_folder, device="cpu", dtype="float32", threads=1)
