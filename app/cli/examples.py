"""Three queries of a user's test part, answered by the base and by the personalised model. A REST client's work only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.cli.client import ServiceClient

Json = dict[str, Any]
_COUNT = 3


@dataclass(frozen=True)
class Answered:
    """One query with what was really answered and what the two models say."""

    query: str
    reference: str
    base: str
    personalized: str


def test_part(samples: list[Json], report: Json) -> list[Json]:
    """The test part of a history in time order, as the job split it (train, then validation, then test)."""
    sizes = report["samples"]
    start = sizes["train"] + sizes["validation"]
    return samples[start : start + sizes["test"]]


def evenly(samples: list[Json], count: int) -> list[Json]:
    """`count` samples spread over the list; chosen by place alone, so that nobody picks the flattering ones."""
    count = min(count, len(samples))
    return [samples[(2 * i + 1) * len(samples) // (2 * count)] for i in range(count)]


def answer_examples(client: ServiceClient, user_id: str, job: Json) -> list[Answered]:
    """Ask the service a few queries of the user's test part, greedily, in both modes."""
    chosen = evenly(test_part(client.history(user_id), job["report"]), _COUNT)
    return [
        Answered(
            query=sample["query"],
            reference=sample["response"],
            base=client.respond(user_id, sample["query"], mode="base")["response"],
            personalized=client.respond(user_id, sample["query"], mode="personalized")["response"],
        )
        for sample in chosen
    ]
