"""History files for the tests of measuring."""

from __future__ import annotations

import json
from pathlib import Path

_TOPICS = ["tea", "rain", "bread", "chess", "trains", "moss", "maps"]


def write_people(path: Path, *names: str, samples: int = 20) -> Path:
    """A file of so many users, each with samples unlike the others'."""
    lines = [
        {
            "user_id": name,
            "profile": f"{name} keeps a garden.",
            "samples": [
                {
                    "query": f"{name} asks about {_TOPICS[i % 7]} on day {i}?",
                    "response": f"{name} likes {_TOPICS[i % 7]}, as always on day {i}.",
                    "time": f"2026-{i // 28 + 1:02d}-{i % 28 + 1:02d}T08:00:00Z",
                }
                for i in range(samples)
            ],
        }
        for name in names
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def turn_round(path: Path) -> None:
    """Put the latest of one user's samples first, and take from the two latest when they were."""
    told = json.loads(path.read_text(encoding="utf-8"))
    told["samples"].reverse()
    for sample in told["samples"][:2]:
        del sample["time"]
    path.write_text(json.dumps(told), encoding="utf-8")
