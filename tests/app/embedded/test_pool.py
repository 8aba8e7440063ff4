"""How many pool processes the embedded worker gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.embedded import pool
from app.embedded.pool import pool_processes
from app.settings import Settings


@pytest.fixture
def on_cpu(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that name the CPU, on a machine of two cores."""
    monkeypatch.setattr(pool, "available_cores", lambda: 2)
    return settings.model_copy(update={"device": "cpu"})


def test_the_small_base_on_two_cores_is_trained_by_two_processes(on_cpu: Settings) -> None:
    assert pool_processes(on_cpu) == 2


def test_one_core_has_one_process(on_cpu: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "available_cores", lambda: 1)
    assert pool_processes(on_cpu) == 1


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_an_accelerator_has_one_process(on_cpu: Settings, device: str) -> None:
    assert pool_processes(on_cpu.model_copy(update={"device": device})) == 1


def test_whoever_sets_the_threads_gets_one_process_with_so_many(on_cpu: Settings) -> None:
    assert pool_processes(on_cpu.model_copy(update={"torch_threads": 2})) == 1


def test_a_base_that_is_large_or_not_on_this_machine_is_held_once(on_cpu: Settings, tmp_path: Path) -> None:
    assert pool_processes(on_cpu.model_copy(update={"base_model": "some-maker/some-model"})) == 1
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(2 << 30)
    assert pool_processes(on_cpu.model_copy(update={"base_model": str(tmp_path)})) == 1
