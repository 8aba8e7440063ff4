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
