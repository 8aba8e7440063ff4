"""More queries than there are places: refused with a time to come back, and nothing else waits for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from app.settings import Settings
from tests.support.api import Service, pairs, served, wait_until_ready
from tests.support.keys import AUTH, KEYS

LONG = {"query": "how are you?", "mode": "base", "max_new_tokens": 200, "temperature": 2.0, "seed": 1}


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with one place for an answer and one to wait."""
    folder = tmp_path_factory.mktemp("narrow")
    settings = Settings(
        _env_file=None,
        data_dir=folder,
        database_url=f"sqlite:///{folder / 'milp.sqlite3'}",
        store_url=(folder / "store").as_uri(),
        broker_url="",
        api_keys=KEYS,
        torch_threads=1,
        max_batch_rows=1,
        max_queue=1,
    )
    with served(settings) as service:
        wait_until_ready(service.http)
        service.http.post("/v1/users/u/history", json={"samples": pairs(1), "personalize": False}).raise_for_status()
        yield service


def figure(service: Service, name: str) -> float:
    lines = service.http.get("/metrics").text.splitlines()
    return next((float(line.split()[1]) for line in lines if line.startswith(name + " ")), 0.0)


def drawn(service: Service) -> Iterator[tuple[dict[str, object], int]]:
    """Answers drawn with other seeds: what to ask for, and how many tokens it has. Which is long depends on the CPU."""
    for seed in range(100):
        body = LONG | {"seed": seed}
        usage = service.http.post("/v1/users/u/responses", json=body).json()["usage"]
        yield body, usage["completion_tokens"]


def wait_for_idle(service: Service) -> None:
    while figure(service, "milp_answers_running") + figure(service, "milp_answers_waiting"):
        time.sleep(0.05)


def test_a_full_queue_refuses_and_the_rest_of_the_service_answers(narrow: Service) -> None:
    def ask(_: int) -> httpx.Response:
        return httpx.post(
            f"{narrow.url}/v1/users/u/responses",
            json=LONG | {"max_new_tokens": 40},
            timeout=120,
            trust_env=False,
            headers=AUTH,
        )

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(12)))
    refused = [answer for answer in answers if answer.status_code == 503]
    assert {answer.status_code for answer in answers} == {200, 503}
    assert all(answer.json()["code"] == "queue_full" for answer in refused)
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    wait_for_idle(narrow)


def test_a_stream_whose_client_hangs_up_frees_its_place(narrow: Service) -> None:
    with httpx.Client(base_url=narrow.url, timeout=120, trust_env=False, headers=AUTH) as http:
        request = http.build_request("POST", "/v1/users/u/responses", json=LONG | {"stream": True})
        response = http.send(request, stream=True)
        assert next(response.iter_lines()).startswith("event: delta")
        response.close()
    wait_for_idle(narrow)


def test_an_answer_whose_client_hangs_up_is_cut_short(narrow: Service) -> None:
    name = 'milp_tokens_total{kind="completion"}'
    asked, whole = next((body, tokens) for body, tokens in drawn(narrow) if tokens > 120)
    before = figure(narrow, name)
    with httpx.Client(base_url=narrow.url, trust_env=False, headers=AUTH) as http, pytest.raises(httpx.ReadTimeout):
        http.post("/v1/users/u/responses", json=asked, timeout=0.3)
    wait_for_idle(narrow)
    assert figure(narrow, name) - before < whole
