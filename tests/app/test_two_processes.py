"""Two API processes on one database and one store: what is said to one holds for the other's very next answer."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters_store.store import AdapterStore
from app.database import Database
from app.settings import Settings
from engine.base import Base, load_base
from tests.support.api import Service, figure, pairs, publish, wait_until_ready
from tests.support.families import save_tiny_model
from tests.support.keys import AUTH
from tests.workers.processes import api_process


@pytest.fixture
def tiny(tmp_path: Path) -> Base:
    return load_base(str(save_tiny_model("llama", tmp_path / "base")), device="cpu", dtype="float32", threads=1)


@pytest.fixture
def two(settings: Settings, postgres_url: str, tiny: Base, tmp_path: Path) -> Iterator[tuple[Service, Service]]:
    """Two processes that answer with the same tiny base."""
    shared = settings.model_copy(
        update={
            "database_url": postgres_url,
            "base_model": tiny.name,
            "dtype": "float32",
            "torch_threads": 1,
            "max_new_tokens": 8,
        }
    )
    database, store = Database(postgres_url), AdapterStore.open(shared.resolved_store_url)
    with (
        api_process(shared, tmp_path / "first.log") as one,
        api_process(shared, tmp_path / "second.log") as other,
        httpx.Client(base_url=one, timeout=120, trust_env=False, headers=AUTH) as first,
        httpx.Client(base_url=other, timeout=120, trust_env=False, headers=AUTH) as second,
    ):
        wait_until_ready(first)
        wait_until_ready(second)
        yield Service(shared, one, first, database, store), Service(shared, other, second, database, store)
    database.dispose()


def answer(service: Service, **more: str) -> dict[str, Any]:
    asked = service.http.post("/v1/users/ann/responses", json={"query": "how are you?", **more})
    body: dict[str, Any] = asked.json()
    return body


def test_a_version_published_or_switched_through_one_process_is_the_others_next_answer(
    two: tuple[Service, Service], tiny: Base
) -> None:
    first, second = two
    first.http.post("/v1/users/ann/history", json={"samples": pairs(3), "personalize": False}).raise_for_status()
    assert [answer(service)["mode"] for service in two] == ["memory", "memory"]

    older = publish(first, tiny, "ann", seed=1, activate=False)
    first.http.post(f"/v1/users/ann/versions/{older.id}/activate").raise_for_status()
    answers = [answer(second), answer(first)]
    assert [(a["mode"], a["version_id"]) for a in answers] == [("personalized", older.id)] * 2
    assert answers[0]["response"] == answers[1]["response"] != answer(second, mode="base")["response"]

    newer = publish(first, tiny, "ann", seed=2)
    assert [answer(service)["version_id"] for service in two] == [newer.id, newer.id]
    second.http.post(f"/v1/users/ann/versions/{older.id}/activate").raise_for_status()
    assert [answer(service)["version_id"] for service in two] == [older.id, older.id]

    second.http.post("/v1/users/ann/versions/deactivate").raise_for_status()
    assert [(answer(service)["mode"], answer(service)["version_id"]) for service in two] == [("memory", None)] * 2
    assert [answer(service, mode="personalized")["code"] for service in two] == ["no_active_version"] * 2


def test_a_user_erased_through_one_process_while_another_answers_for_them_is_forgotten_by_both(
    two: tuple[Service, Service], tiny: Base
) -> None:
    first, second = two
    first.http.post("/v1/users/ann/history", json={"samples": pairs(3), "personalize": False}).raise_for_status()
    publish(first, tiny, "ann", seed=1)
    assert [answer(service)["mode"] for service in two] == ["personalized", "personalized"]

    statuses, asked, over = Counter[int](), threading.Barrier(3), threading.Event()

    def ask_on(http: httpx.Client) -> None:
        asked.wait()
        while not over.is_set():
            statuses[http.post("/v1/users/ann/responses", json={"query": "how are you?"}).status_code] += 1

    with (
        httpx.Client(base_url=second.url, timeout=120, trust_env=False, headers=AUTH) as one,
        httpx.Client(base_url=second.url, timeout=120, trust_env=False, headers=AUTH) as other,
        ThreadPoolExecutor(2) as threads,
    ):
        asking = [threads.submit(ask_on, http) for http in (one, other)]
        asked.wait()
        while sum(statuses.values()) < 2:
            time.sleep(0.01)
        erased = first.http.delete("/v1/users/ann").json()
        over.set()
        for ended in asking:
            ended.result()
    # Answered before, or refused after: nothing was cut short.
    assert set(statuses) <= {200, 404}
    assert statuses[200] >= 2

    deadline = time.monotonic() + 60
    while (seen := second.http.get(f"/v1/erasures/{erased['id']}").json())["state"] != "complete":
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)
    assert [holder["state"] for holder in seen["holders"]] == ["forgot", "forgot"]
    assert [answer(service)["code"] for service in two] == ["user_not_found"] * 2
    assert [float(figure(service, "milp_bank_stacks")) for service in two] == [0, 0]
