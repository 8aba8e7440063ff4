"""A finished job and its trials as the REST API gives them; a real service; histories to send to it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cli.client import ServiceClient
from app.embedded.service import EmbeddedService
from app.settings import Settings
from tests.app.cli.service import remember_key

LAYERS = 12


def trial(number: int, layers: str, n: int, r: int, loss: float | None, rouge_l: float | None) -> dict[str, Any]:
    """A trial as `GET /v1/jobs/{id}/trials` lists it; without scores it failed."""
    failed = loss is None
    return {
        "number": number,
        "round": 0 if number < 9 else 1,
        "origin": {0: "base", 1: "default"}.get(number, "initial" if number < 9 else "proposed"),
        "state": "failed" if failed else "succeeded",
        "layers": layers,
        "n": n,
        "r": r,
        "seed": number,
        "loss": loss,
        "loss_se": None if failed else 0.08,
        "rouge_l": rouge_l,
        "rouge_l_se": None if failed else 1.1,
        "parameters": layers.count("1") * n * r * 3648,
        "seconds": None if number == 0 else 11.4,
        "stopped_after": None,
        "error": {"code": "diverged", "detail": "The loss became NaN after 12 steps <script>."} if failed else None,
        "finished_at": "2026-11-21T10:00:00Z",
    }


@pytest.fixture
def trials() -> list[dict[str, Any]]:
    """Fourteen trials; 6 failed, 2, 9 and 12 are the front."""
    return [
        trial(0, "0" * LAYERS, 0, 8, 2.61, 9.8),
        trial(1, "1" * LAYERS, 1, 16, 2.30, 13.9),
        trial(2, "101010101010", 2, 8, 2.12, 14.1),
        trial(3, "000011110000", 1, 64, 2.35, 12.2),
        trial(4, "100000000001", 4, 16, 2.44, 11.0),
        trial(5, "111111000000", 2, 32, 2.28, 13.1),
        trial(6, "111111111111", 1, 96, None, None),
        trial(7, "010000000000", 1, 8, 2.58, 10.1),
        trial(8, "001100110011", 3, 16, 2.25, 13.4),
        trial(9, "101011101010", 2, 16, 2.15, 16.2),
        trial(10, "111011101010", 2, 16, 2.22, 15.0),
        trial(11, "101010101110", 2, 16, 2.19, 14.6),
        trial(12, "111111111110", 4, 32, 2.40, 18.4),
        trial(13, "111111111111", 5, 32, 2.52, 17.7),
    ]


def interval(mean: float, spread: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - spread, "high": mean + spread}


def scores(rouge_1: float, rouge_l: float, persona_f1: float, loss: float) -> dict[str, dict[str, float]]:
    return {
        "rouge_1": interval(rouge_1, 2.0),
        "rouge_l": interval(rouge_l, 1.5),
        "persona_f1": interval(persona_f1, 0.25),
        "loss": interval(loss, 0.1),
    }


@pytest.fixture
def job() -> dict[str, Any]:
    """A succeeded job whose winner, trial 12, passed its gate."""
    comparison = {"difference": 8.6, "low": 5.1, "high": 12.0, "probability": 0.99}
    return {
        "id": "job_0123456789abcdef01234567",
        "user_id": "anna",
        "status": "succeeded",
        "trials_planned": 14,
        "trials_done": 14,
        "best": {"trial": 12, "rouge_l": 18.4, "loss": 2.4},
        "seconds_left": 0.0,
        "pareto_front": [],
        "error": None,
        "version_id": "v_" + "ab" * 16,
        "options": {"seed": 7, "preset": "quick"},
        "created_at": "2026-11-21T09:57:00Z",
        "started_at": "2026-11-21T09:57:01Z",
        "finished_at": "2026-11-21T10:00:06Z",
        "report": {
            "winner": {
                "trial": 12,
                "layers": "111111111110",
                "n": 4,
                "r": 32,
                "reason": "Best lower bound of ROUGE-L.",
            },
            "gate": {
                "passed": True,
                "reason": "The winner beats the base by +8.60 ROUGE-L.",
                "confidence": 0.9,
                "against_base": comparison,
                "against_memory": comparison,
            },
            "activated": True,
            "stop_reason": "All 14 trials of the budget are done.",
            "test": {
                "base": scores(14.2, 9.7, 1.05, 2.63),
                "memory": scores(15.1, 11.2, 1.71, 2.58),
                "default_lora": scores(19.0, 14.2, 1.6, 2.31),
                "personalized": scores(23.4, 18.1, 2.9, 2.42),
            },
            "samples": {"train": 84, "validation": 12, "test": 24},
            "pareto": [2, 9, 12],
        },
    }


@pytest.fixture
def base_won(job: dict[str, Any]) -> dict[str, Any]:
    """The same job, had no trial been better than the base."""
    report = job["report"]
    report["winner"] = {"trial": 0, "layers": "0" * LAYERS, "n": 0, "r": 8, "reason": "The base itself."}
    report.update(gate=None, activated=False)
    report["test"]["personalized"] = report["test"]["base"]
    return {**job, "version_id": None}


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, tiny_base: str) -> Iterator[EmbeddedService]:
    """A running service of the tests' own, with a tiny base. Tests share it: each uses users of its own."""
    folder = tmp_path_factory.mktemp("svc")
    # A low bar for epochs keeps the tests short; the search is the same.
    quick = {"epochs": 1, "batch_size": 8, "averaged": 1, "max_new_tokens": 8}
    settings = Settings(_env_file=None, data_dir=folder, base_model=tiny_base, port=0, **quick)
    with EmbeddedService(settings) as running:
        remember_key(running.url, running.api_key)
        yield running


@pytest.fixture
def client(service: EmbeddedService) -> Iterator[ServiceClient]:
    with ServiceClient(service.url, service.api_key) as opened:
        yield opened


@pytest.fixture
def histories(tmp_path: Path) -> Path:
    """A file of two users in the format of `milp import`, with names that no other test uses."""
    mark = uuid.uuid4().hex[:8]
    rows = [
        {
            "user_id": f"{name}-{mark}",
            "profile": "Answers shortly.",
            "samples": [
                {
                    "query": f"{name} asks: what is {i} plus {i}?",
                    "response": f"That is {2 * i}, my friend.",
                    "time": f"2026-01-{i + 1:02d} 10:00",
                }
                for i in range(24)
            ],
        }
        for name in ("ada", "bob")
    ]
    file = tmp_path / "histories.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file
