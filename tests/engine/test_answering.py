"""The answering engine: streams, hot-loaded stacks, a bounded bank and queue, and what it does when things fail."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread, get_ident
from threading import enumerate as enumerate_threads
from typing import Any

import pytest
import torch

from engine import bank
from engine.answer import Answer
from engine.answering import AnsweringEngine
from engine.base import Base
from engine.configuration import Configuration
from engine.decoding import DecodingBatch
from engine.errors import EngineError, PromptTooLongError, QueueFullError, StackMismatchError
from engine.prompts import messages_for
from engine.stack import Stack
from tests.engine.conftest import expected_text, random_stack


def stack_of(base: Base, seed: int) -> Stack:
    return random_stack(base, Configuration((True,) * 12, 1, 8), seed=seed)


def test_answers_of_several_users_at_once_are_each_their_own(
    small_base: Base, start: Callable[..., AnsweringEngine]
) -> None:
    engine = start(rows=3)
    stacks = {f"user{i}": stack_of(small_base, i) for i in range(4)}
    queries = {key: f"what do you think of the number {i}?" for i, key in enumerate(stacks)}
    answers = {
        key: engine.submit(messages_for(queries[key]), stack_key=key, load_stack=lambda s=s: s, max_new_tokens=10)
        for key, s in stacks.items()
    }
    base_answer = engine.submit(messages_for("what do you think of the number 0?"), max_new_tokens=10)

    for key, answer in answers.items():
        assert answer.text() == expected_text(small_base, queries[key], stacks[key], 10)
    assert base_answer.text() == expected_text(small_base, "what do you think of the number 0?", None, 10)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own there")
def test_decoding_gives_way_to_the_requests_beside_it(start: Callable[..., AnsweringEngine]) -> None:
    engine = start()
    engine.submit(messages_for("Hi"), max_new_tokens=1).text()  # a lane has begun to work
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    lanes = [thread.native_id for thread in enumerate_threads() if thread.name.startswith("answering-")]
    assert max(os.getpriority(os.PRIO_PROCESS, lane or 0) for lane in lanes) > ours


def test_an_answer_streams_in_pieces_that_make_up_the_whole(
    small_base: Base, start: Callable[..., AnsweringEngine]
) -> None:
    answer = start().submit(messages_for("tell me a story"), max_new_tokens=12)
    pieces = list(answer)

    assert len(pieces) > 3
    assert "".join(pieces) == expected_text(small_base, "tell me a story", None, 12)
    assert answer.finish_reason in ("stop", "length")
    assert 0 < answer.completion_tokens <= 12


def test_a_stack_is_loaded_once_and_the_least_recently_used_leaves_the_bank(
    small_base: Base, start: Callable[..., AnsweringEngine]
) -> None:
    engine, loads = start(stacks=2), []

    def ask(key: str) -> None:
        def load() -> Stack:
            loads.append(key)
            return stack_of(small_base, ord(key))

        engine.submit(messages_for("hi"), stack_key=key, load_stack=load, max_new_tokens=1).text()

    for key in ["a", "a", "b", "a", "c", "a", "b"]:
        ask(key)

    assert loads == ["a", "b", "c", "b"]
    assert engine.loaded_keys() == ["a", "b"]
    assert engine.evictions == 2


def test_a_version_that_comes_while_an_answer_is_written_has_no_part_in_it(
    small_base: Base, start: Callable[..., AnsweringEngine]
) -> None:
    engine, query = start(rows=2, stacks=1), "what do you think of the number 7?"
    old, new = stack_of(small_base, 1), stack_of(small_base, 2)
    begun = engine.submit(messages_for(query), stack_key="u/v1", load_stack=lambda: old, max_new_tokens=40)
    first = next(iter(begun))
    after = engine.submit(messages_for(query), stack_key="u/v2", load_stack=lambda: new, max_new_tokens=40)

    assert after.text() == expected_text(small_base, query, new, 40)
    assert engine.loaded_keys() == ["u/v2"]
    assert first + begun.text() == expected_text(small_base, query, old, 40)


class OnGpu:
    """A stack and its tensors as far as a copy to a GPU looks at them, and the streams that it is copied by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[str] = []
        self.a, self.b = {"p": self}, dict[str, OnGpu]()
        self._current = "decoding's"
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: self._current)
        monkeypatch.setattr(torch.cuda, "stream", self._within)
        monkeypatch.setattr(bank, "_stream", lambda _device: self)

    def to(self, **_: object) -> OnGpu:
        self.told.append(f"copied on {self._current} stream")
        return self

    def synchronize(self) -> None:
        self.told.append("waited for")

    def record_stream(self, stream: str) -> None:
        self.told.append(f"kept for {stream} stream")

    @contextmanager
    def _within(self, _stream: object) -> Iterator[None]:
        self._current = "its own"
        yield
        self._current = "decoding's"


def test_on_a_gpu_a_stack_is_copied_beside_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    stack: Any = OnGpu(monkeypatch)
    assert bank._copied(stack, torch.device("cuda"), torch.bfloat16) is stack
    assert stack.told == ["copied on its own stream", "waited for", "kept for decoding's stream"]


def test_forgetting_a_prefix_drops_those_stacks_only(small_base: Base, start: Callable[..., AnsweringEngine]) -> None:
    engine = start(stacks=4)
    for key in ("t/u1/v1", "t/u1/v2", "t/u2/v1"):
        engine.submit(
            messages_for("hi"), stack_key=key, load_stack=lambda: stack_of(small_base, 1), max_new_tokens=1
        ).text()

    assert engine.forget("t/u1/") == 2
    assert engine.loaded_keys() == ["t/u2/v1"]


def test_callers_that_ask_for_a_stack_while_it_loads_wait_for_that_load(
    small_base: Base, start: Callable[..., AnsweringEngine]
) -> None:
    engine, release, loads, texts = start(), Event(), [], []

    def load() -> Stack:
        loads.append(1)
        assert release.wait(30)
        return stack_of(small_base, 1)

    def ask() -> None:
        texts.append(engine.submit(messages_for("hi"), stack_key="k", load_stack=load, max_new_tokens=4).text())

    threads = [Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    while not loads:
        pass
    other = engine.submit(messages_for("others go on meanwhile"), max_new_tokens=3).text()
    release.set()
    for thread in threads:
        thread.join()

    assert other
    assert len(loads) == 1
    assert len(texts) == 3
    assert len(set(texts)) == 1


def test_a_load_that_fails_reaches_its_caller_and_the_next_one_tries_again(
    small_base: Base, start: Callable[..., AnsweringEngine]
) -> None:
    engine = start()

    def broken() -> Stack:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        engine.submit(messages_for("hi"), stack_key="k", load_stack=broken, max_new_tokens=2)

    good = engine.submit(
        messages_for("hi"), stack_key="k", load_stack=lambda: stack_of(small_base, 1), max_new_tokens=2
    )
    assert good.text() == expected_text(small_base, "hi", stack_of(small_base, 1), 2)


def test_a_stack_of_another_shape_is_refused(small_base: Base, start: Callable[..., AnsweringEngine]) -> None:
    good = stack_of(small_base, 1)
    wrong = Stack(good.configuration, {k: a[:, :-1] for k, a in good.a.items()}, good.b)

    with pytest.raises(StackMismatchError, match="shape"):
        start().submit(messages_for("hi"), stack_key="k", load_stack=lambda: wrong, max_new_tokens=2)


def test_a_full_queue_refuses_with_a_time_to_come_back_and_recovers(start: Callable[..., AnsweringEngine]) -> None:
    engine = start(rows=1, waiting=1)
    running = engine.submit(messages_for("a long story please"), max_new_tokens=200)
    next(iter(running))
    waiting = engine.submit(messages_for("me too"), max_new_tokens=1)

    with pytest.raises(QueueFullError) as refused:
        engine.submit(messages_for("and me"), max_new_tokens=1)
    running.cancel()

    assert refused.value.retry_after_seconds >= 1
    assert waiting.text() is not None
    assert engine.submit(messages_for("now me"), max_new_tokens=1).text() is not None


def test_a_cancelled_answer_ends_and_gives_its_place_free(start: Callable[..., AnsweringEngine]) -> None:
    engine = start(rows=1)
    running = engine.submit(messages_for("a long story please"), max_new_tokens=500)
    pieces = iter(running)
    next(pieces)
    queued = engine.submit(messages_for("never to be answered"), max_new_tokens=500)
    queued.cancel()
    running.cancel()

    assert queued.text() == ""
    assert list(pieces) is not None
    assert running.finish_reason == queued.finish_reason == "cancelled"
    assert running.completion_tokens < 500
    assert engine.submit(messages_for("next"), max_new_tokens=1).text() is not None


def test_a_prompt_over_the_context_is_refused_before_anything_is_loaded(
    start: Callable[..., AnsweringEngine],
) -> None:
    engine = start()

    with pytest.raises(PromptTooLongError, match="tokens"):
        engine.submit(messages_for("word " * 2000), stack_key="k", load_stack=lambda: 1 / 0, max_new_tokens=8)  # type: ignore[arg-type,return-value]
    with pytest.raises(PromptTooLongError, match="no room"):
        engine.submit(messages_for("hi"), max_new_tokens=100_000)


def test_closing_ends_unfinished_answers_with_an_error(start: Callable[..., AnsweringEngine]) -> None:
    engine = start(rows=1)
    running = engine.submit(messages_for("a long story please"), max_new_tokens=900)
    next(iter(running))
    engine.close()

    with pytest.raises(EngineError, match="shut down"):
        running.text()
    with pytest.raises(EngineError, match="shutting down"):
        engine.submit(messages_for("hi"), max_new_tokens=1)


def test_a_failure_while_decoding_reaches_those_answers_and_the_engine_goes_on(
    small_base: Base, start: Callable[..., AnsweringEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start()
    with monkeypatch.context() as patch:
        patch.setattr(small_base, "logits", lambda _hidden: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            engine.submit(messages_for("hi"), max_new_tokens=4).text()

    assert engine.submit(messages_for("hi"), max_new_tokens=4).text() == expected_text(small_base, "hi", None, 4)


def test_a_users_many_requests_do_not_keep_another_user_waiting(
    small_base: Base, start: Callable[..., AnsweringEngine]
) -> None:
    engine = start(rows=2)
    ended: list[str] = []
    many = [engine.submit(messages_for(f"question {i}"), max_new_tokens=12, owner="eager") for i in range(6)]
    late = engine.submit(messages_for("hello"), max_new_tokens=12, owner="patient")

    def wait(name: str, answer: Answer) -> None:
        answer.text()
        ended.append(name)

    named = [("eager", answer) for answer in many] + [("patient", late)]
    threads = [Thread(target=wait, args=pair) for pair in named]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # First come, first served would have had the late one last.
    assert ended.index("patient") <= 4


def test_lanes_share_the_rows_and_answer_as_one_would(small_base: Base, start: Callable[..., AnsweringEngine]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        engine = start(rows=6, waiting=16)
    finally:
        torch.set_num_threads(before)
    seen: set[int] = set()
    step = DecodingBatch.step

    def noted(batch: DecodingBatch) -> None:
        if batch.rows:
            seen.add(get_ident())
        step(batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DecodingBatch, "step", noted)
        queries = [f"what is {i} and {i + 1}?" for i in range(10)]
        answers = [engine.submit(messages_for(query), max_new_tokens=10, owner=query) for query in queries]
        texts = [answer.text() for answer in answers]

    assert texts == [expected_text(small_base, query, None, 10) for query in queries]
    assert len(seen) == 2
