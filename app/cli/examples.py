"""Three queries of a user's test part, answered by the base and by the personalised model, over REST only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
    bases = [client.respond(user_id, sample["query"], mode="base")["response"] for sample in chosen]
    ours = bases  # where the base itself won, it is the personalised model
    if job["version_id"] is not None:
        with _active(client, user_id, job["version_id"]):
            ours = [client.respond(user_id, s["query"], mode="personalized")["response"] for s in chosen]
    return [
        Answered(query=sample["query"], reference=sample["response"], base=base, personalized=personalized)
        for sample, base, personalized in zip(chosen, bases, ours, strict=True)
    ]


@contextmanager
def _active(client: ServiceClient, user_id: str, version_id: str) -> Iterator[None]:
    """Have this version answer, then whatever answered before: one that failed its gate is only looked at."""
    before = client.user(user_id)["active_version_id"]
    if before == version_id:
        yield
        return
    client.activate(user_id, version_id)
    try:
        yield
    finally:
        if before is None:
            client.deactivate(user_id)
        else:
            client.activate(user_id, before)
