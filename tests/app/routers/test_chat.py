"""The OpenAI-compatible routes, used by OpenAI's own client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from engine.base import Base
from tests.support.api import Service, pairs, publish
from tests.support.keys import KEY

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "how are you?"}]


@pytest.fixture
def client(answering: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{answering.url}/v1", api_key=KEY, max_retries=0) as opened:
        yield opened


def answer_of(service: Service, user_id: str, **more: Any) -> dict[str, Any]:
    answer = service.http.post(f"/v1/users/{user_id}/responses", json={"query": "how are you?", **more})
    body: dict[str, Any] = answer.raise_for_status().json()
    return body


def test_the_base_answers_where_no_user_is_named(client: openai.OpenAI, answering: Service) -> None:
    answering.http.post("/v1/users/plain/history", json={"samples": pairs(1), "personalize": False})
    done = client.chat.completions.create(model="base_model", messages=HELLO)
    expected = answer_of(answering, "plain", mode="base")
    assert done.choices[0].message.content == expected["response"]
    assert done.choices[0].finish_reason == expected["finish_reason"]
    assert done.usage is not None
    assert done.usage.completion_tokens == expected["usage"]["completion_tokens"]
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens


def test_the_user_is_named_by_model_or_by_user(client: openai.OpenAI, answering: Service, small_base: Base) -> None:
    publish(answering, small_base, "openai:1", seed=50)
    expected = answer_of(answering, "openai:1", mode="personalized")["response"]
    by_model = client.chat.completions.create(model="milp:openai:1", messages=HELLO)
    by_user = client.chat.completions.create(model="base_model", messages=HELLO, user="openai:1")
    assert by_model.choices[0].message.content == by_user.choices[0].message.content == expected
    assert "milp:openai:1" in [model.id for model in client.models.list()]


def test_a_stream_is_the_whole_answer_in_pieces(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="base_model", messages=HELLO)
    chunks = list(
        client.chat.completions.create(
            model="base_model", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage


def test_a_stream_without_the_option_tells_no_usage(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="base_model", messages=HELLO, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_length_stop_and_seed_are_heeded(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="base_model", messages=HELLO).choices[0].message.content or ""
    for limit in ({"max_tokens": 2}, {"max_completion_tokens": 2}, {"max_tokens": 9, "max_completion_tokens": 2}):
        short = client.chat.completions.create(model="base_model", messages=HELLO, **limit)  # type: ignore[call-overload]
        assert short.usage.completion_tokens == 2
        assert short.choices[0].finish_reason == "length"
    stop = whole.split()[2]
    stopped = client.chat.completions.create(model="base_model", messages=HELLO, stop=[stop, "never"])
    assert stopped.choices[0].message.content == whole[: whole.index(stop)]
    assert stopped.choices[0].finish_reason == "stop"
    sampled = [
        client.chat.completions.create(model="base_model", messages=HELLO, temperature=1.5, top_p=0.9, seed=seed)
        for seed in (1, 1)
    ]
    assert sampled[0].choices[0].message.content == sampled[1].choices[0].message.content


def test_a_whole_conversation_is_the_prompt(client: openai.OpenAI) -> None:
    turns: list[ChatCompletionMessageParam] = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": "hello"},
        *HELLO,
    ]
    longer = client.chat.completions.create(model="base_model", messages=turns)
    shorter = client.chat.completions.create(model="base_model", messages=HELLO)
    assert longer.usage is not None
    assert shorter.usage is not None
    assert longer.usage.prompt_tokens > shorter.usage.prompt_tokens


def test_unknown_users_and_models_are_not_found(client: openai.OpenAI) -> None:
    for model, user, code in [
        ("milp:nobody", None, "user_not_found"),
        ("base_model", "nobody", "user_not_found"),
        ("gpt-4o", None, "model_not_found"),
    ]:
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model=model, messages=HELLO, user=user or openai.omit)
        assert caught.value.response.json()["code"] == code


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"logprobs": True},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"stop": ["a", "b", "c", "d", "e"]},
        {"stop": ""},
        {"stop": 3},
        {"max_tokens": "3"},
        {"max_tokens": False},
        {"temperature": "hot"},
        {"stream": 1},
        {"messages": []},
        {"messages": [{"role": "assistant", "content": "x"}]},
        {"messages": [{"role": "tool", "content": "x"}, *HELLO]},
        {"messages": [*HELLO, {"role": "system", "content": "x"}, *HELLO]},
        {"messages": [{"role": "user", "content": "a\0"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"model": "milp:a", "user": "b"},
        {"model": None},
    ],
)
def test_what_cannot_be_served_is_refused(answering: Service, fields: dict[str, Any]) -> None:
    answer = answering.http.post("/v1/chat/completions", json={"model": "base_model", "messages": HELLO} | fields)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


def test_fields_the_service_has_no_use_for_are_ignored(answering: Service) -> None:
    fields = {"model": "base_model", "messages": HELLO, "frequency_penalty": 0, "metadata": {"a": "b"}, "n": 1}
    assert answering.http.post("/v1/chat/completions", json=fields).status_code == 200
