"""Answers over HTTP, by the small base and by stacks loaded onto it while it runs."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.repositories import users, versions
from engine.base import Base
from tests.support.api import Service, events_of, figure, pairs, publish, weights_file


def learn(service: Service, user_id: str, count: int = 10, **more: Any) -> None:
    body = {"samples": pairs(count), "personalize": False, **more}
    service.http.post(f"/v1/users/{user_id}/history", json=body).raise_for_status()


def ask(service: Service, user_id: str, query: str = "how are you?", **more: Any) -> dict[str, Any]:
    answer = service.http.post(f"/v1/users/{user_id}/responses", json={"query": query, **more})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_the_memory_prompt_answers_while_there_is_no_version(answering: Service) -> None:
    learn(answering, "memo", profile="a cook")
    body = ask(answering, "memo", "question 3?")
    assert (body["mode"], body["version_id"], body["warning"]) == ("memory", None, None)
    assert body["memory"][-1] == {"query": "question 3", "response": "answer 3"}
    assert len(body["memory"]) == answering.settings.memory_pairs
    assert body["finish_reason"] in ("stop", "length")
    assert body["usage"]["prompt_tokens"] > ask(answering, "memo", "question 3?", mode="base")["usage"]["prompt_tokens"]


def test_pairs_that_do_not_fit_the_context_are_left_out_the_least_similar_first(answering: Service) -> None:
    long = [{"query": f"question {number}", "response": "word " * 500} for number in range(10)]
    learn(answering, "verbose", samples=long)
    body = ask(answering, "verbose", "question 3?")
    assert body["mode"] == "memory"
    assert 0 < len(body["memory"]) < answering.settings.memory_pairs
    assert body["memory"][-1]["query"] == "question 3"
    assert body["usage"]["prompt_tokens"] > 500 * len(body["memory"])


def test_a_query_that_fits_alone_is_answered_without_what_does_not(answering: Service) -> None:
    learn(answering, "profiled", samples=[{"query": "question", "response": "word " * 1500}], profile="a b c d " * 490)
    body = ask(answering, "profiled", "question?", mode="memory")
    assert (body["mode"], body["memory"]) == ("memory", [])
    alone = ask(answering, "profiled", "question?", mode="base")
    assert (body["response"], body["usage"]) == (alone["response"], alone["usage"])


def test_a_published_version_answers_from_the_next_request_on(answering: Service, small_base: Base) -> None:
    learn(answering, "fresh")
    before = ask(answering, "fresh", mode="base")
    first = publish(answering, small_base, "fresh", seed=1)
    body = ask(answering, "fresh")
    assert (body["mode"], body["version_id"], body["memory"]) == ("personalized", first.id, [])
    assert body["response"] != before["response"]
    second = publish(answering, small_base, "fresh", seed=2)
    assert ask(answering, "fresh")["version_id"] == second.id
    assert ask(answering, "fresh", mode="base")["response"] == before["response"]


def test_a_version_is_rolled_back_and_switched_off(answering: Service, small_base: Base) -> None:
    learn(answering, "roll")
    first, second = (publish(answering, small_base, "roll", seed=seed) for seed in (3, 4))
    path = "/v1/users/roll/versions"
    listed = answering.http.get(path).json()["items"]
    assert [(v["id"], v["active"]) for v in listed] == [(second.id, True), (first.id, False)]
    moved = answering.http.post(f"{path}/{first.id}/activate").json()
    assert moved == {"user_id": "roll", "version_id": first.id}
    assert ask(answering, "roll", mode="personalized")["version_id"] == first.id
    assert answering.http.post(f"{path}/deactivate").json()["version_id"] is None
    assert ask(answering, "roll")["mode"] == "memory"
    refused = answering.http.post("/v1/users/roll/responses", json={"query": "q", "mode": "personalized"})
    assert (refused.status_code, refused.json()["code"]) == (409, "no_active_version")


def test_many_users_answer_at_once_as_each_does_alone(answering: Service, small_base: Base) -> None:
    names = [f"crowd{i}" for i in range(4)]
    for number, name in enumerate(names):
        learn(answering, name)
        publish(answering, small_base, name, seed=10 + number)
    alone = [ask(answering, name)["response"] for name in names]
    assert len(set(alone)) == len(names)
    with ThreadPoolExecutor(len(names)) as pool:
        # The bank holds two of the four stacks.
        assert list(pool.map(lambda name: ask(answering, name)["response"], names)) == alone


def test_a_streamed_answer_is_the_whole_one_in_pieces(answering: Service) -> None:
    learn(answering, "stream")
    whole = ask(answering, "stream")
    answer = answering.http.post("/v1/users/stream/responses", json={"query": "how are you?", "stream": True})
    told = events_of(answer.text)
    assert {event for event, _, _ in told[:-1]} == {"delta"}
    assert "".join(data["text"] for _, _, data in told[:-1]) == whole["response"]
    assert told[-1][0] == "done"
    assert told[-1][2] == whole


def test_a_seed_replays_a_sampled_answer(answering: Service) -> None:
    learn(answering, "seed")
    first = ask(answering, "seed", temperature=1.2, top_p=0.9, seed=5)
    assert ask(answering, "seed", temperature=1.2, top_p=0.9, seed=5)["response"] == first["response"]
    others = {ask(answering, "seed", temperature=1.2, top_p=0.9, seed=seed)["response"] for seed in range(4)}
    assert len(others) > 1


def test_an_answer_is_no_longer_than_asked_for(answering: Service) -> None:
    learn(answering, "short")
    body = ask(answering, "short", max_new_tokens=2)
    assert body["usage"]["completion_tokens"] <= 2


@pytest.mark.parametrize("damage", ["tampered", "truncated", "missing", "folder"])
def test_an_unusable_version_is_an_error_where_it_was_demanded_and_memory_where_not(
    answering: Service, small_base: Base, damage: str
) -> None:
    user = f"broken-{damage}"
    learn(answering, user)
    version = publish(answering, small_base, user, seed=20)
    weights = weights_file(answering, version)
    content = weights.read_bytes()
    if damage == "tampered":
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "truncated":
        weights.write_bytes(content[: len(content) // 2])
    elif damage == "missing":
        weights.unlink()
    else:
        shutil.rmtree(weights.parent)
    demanded = answering.http.post(f"/v1/users/{user}/responses", json={"query": "q", "mode": "personalized"})
    assert (demanded.status_code, demanded.json()["code"]) == (500, "adapter_unusable")
    assert "personalise again" in demanded.json()["detail"]
    auto = answering.http.post(f"/v1/users/{user}/responses", json={"query": "q"})
    assert (auto.json()["mode"], auto.json()["version_id"]) == ("memory", None)
    assert auto.json()["warning"]["code"] == "adapter_unusable"
    assert auto.headers["milp-warning"] == "adapter_unusable"
    exported = answering.http.get(f"/v1/users/{user}/versions/{version.id}/export")
    assert (exported.status_code, exported.json()["code"]) == (500, "adapter_unusable")


def test_a_version_of_another_base_is_unusable(answering: Service, small_base: Base) -> None:
    learn(answering, "foreign")
    small_base_digest = small_base.digest
    try:
        small_base.digest = "f" * 64
        publish(answering, small_base, "foreign", seed=21)
    finally:
        small_base.digest = small_base_digest
    refused = answering.http.post("/v1/users/foreign/responses", json={"query": "q", "mode": "personalized"})
    assert (refused.status_code, refused.json()["code"]) == (500, "adapter_unusable")
    assert "MILP_BASE_MODEL" in refused.json()["detail"]


def test_an_erased_user_leaves_no_file_and_no_loaded_stack(answering: Service, small_base: Base) -> None:
    for user, path in (("gone1", "/v1/users/gone1"), ("gone2", "/v1/users/gone2/history")):
        learn(answering, user)
        version = publish(answering, small_base, user, seed=30)
        ask(answering, user, mode="personalized")
        loaded = float(figure(answering, "milp_bank_stacks"))
        answering.http.delete(path).raise_for_status()
        assert not weights_file(answering, version).parent.parent.exists()
        assert float(figure(answering, "milp_bank_stacks")) == loaded - 1
        with answering.database.read() as session:
            assert versions.page_versions(session, "default", user, None, 5).items == []
    with answering.database.read() as session:
        assert users.get_user(session, "default", "gone2").active_version_id is None


def test_answers_are_counted(answering: Service) -> None:
    learn(answering, "count")
    before = float(figure(answering, 'milp_answers_total{mode="memory"}') or 0)
    tokens = float(figure(answering, 'milp_tokens_total{kind="completion"}') or 0)
    body = ask(answering, "count")
    assert float(figure(answering, 'milp_answers_total{mode="memory"}')) == before + 1
    after = float(figure(answering, 'milp_tokens_total{kind="completion"}'))
    assert after == tokens + body["usage"]["completion_tokens"]


def test_stacks_that_make_room_for_others_are_counted(answering: Service, small_base: Base) -> None:
    for number in range(answering.settings.bank_stacks + 1):
        learn(answering, f"evict{number}")
        publish(answering, small_base, f"evict{number}", seed=40 + number)
    before = float(figure(answering, "milp_bank_evictions_total"))
    for number in range(answering.settings.bank_stacks + 1):
        ask(answering, f"evict{number}", mode="personalized")
    full = float(figure(answering, "milp_bank_evictions_total"))
    assert full > before
    ask(answering, "evict0", mode="personalized")
    assert float(figure(answering, "milp_bank_evictions_total")) == full + 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_input"),
        ({"query": ""}, "invalid_input"),
        ({"query": 3}, "invalid_input"),
        ({"query": "a\0b"}, "invalid_input"),
        ({"query": "q", "mode": "best"}, "invalid_input"),
        ({"query": "q", "stream": "yes"}, "invalid_input"),
        ({"query": "q", "max_new_tokens": "3"}, "invalid_input"),
        ({"query": "q", "max_new_tokens": False}, "invalid_input"),
        ({"query": "q", "max_new_tokens": 0}, "invalid_input"),
        ({"query": "q", "temperature": 3}, "invalid_input"),
        ({"query": "q", "top_p": 0}, "invalid_input"),
        ({"query": "q", "surprise": 1}, "invalid_input"),
        ({"query": "word " * 5000}, "prompt_too_long"),
        ({"query": "q", "max_new_tokens": 32768}, "prompt_too_long"),
    ],
)
def test_a_wrong_query_is_refused(answering: Service, body: dict[str, Any], code: str) -> None:
    learn(answering, "wrong", 1)
    for stream in ({}, {"stream": True}):
        answer = answering.http.post("/v1/users/wrong/responses", json=stream | body)
        assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_an_unknown_user_is_not_found(answering: Service) -> None:
    for mode in ("auto", "personalized", "memory", "base"):
        answer = answering.http.post("/v1/users/nobody/responses", json={"query": "q", "mode": mode})
        assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")


def test_without_its_base_model_the_service_says_so(api: TestClient) -> None:
    api.post("/v1/users/ann/history", json={"samples": pairs(1)}).raise_for_status()
    while (answer := api.post("/v1/users/ann/responses", json={"query": "q"})).headers.get("retry-after"):
        pass
    assert (answer.status_code, answer.json()["code"]) == (503, "base_model_unavailable")
    assert "MILP_BASE_MODEL" in answer.json()["detail"]
