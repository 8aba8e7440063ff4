"""One answer: its text piece by piece, the texts that end it, and its one end."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from types import SimpleNamespace

from tokenizers import decoders

from engine.answer import Answer
from engine.answering import AnsweringEngine
from engine.base import Base
from engine.decoding import Row
from engine.prompts import messages_for
from tests.engine.conftest import expected_text


def test_a_character_spelled_in_bytes_is_streamed_once_it_is_whole() -> None:
    # As Mistral's and Gemma's tokenizers decode: each byte of an unfinished character shows as one mark.
    decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokens = ["a", *(f"<0x{byte:02X}>" for byte in "😀".encode()), "b"]
    form = SimpleNamespace(decode=lambda ids: decoder.decode([tokens[i] for i in ids]))
    row = Row([1], None, len(tokens))
    answer = Answer(SimpleNamespace(format=form), row, [], "", lambda _: None)  # type: ignore[arg-type]

    for i in range(len(tokens)):
        row.tokens.append(i)
        row.finish_reason = "length" if i == len(tokens) - 1 else None
        answer._read()
        answer._publish(done=row.finish_reason is not None)

    assert list(answer) == ["a", "😀", "b"]


def test_a_stop_text_ends_the_answer_and_is_left_out(small_base: Base, start: Callable[..., AnsweringEngine]) -> None:
    whole = expected_text(small_base, "tell me a story", None, 20)
    stop = whole[len(whole) // 2 :][:4]
    answer = start().submit(messages_for("tell me a story"), max_new_tokens=20, stop=[stop])

    assert answer.text() == whole[: whole.index(stop)]
    assert answer.finish_reason == "stop"


def test_an_answer_that_a_stop_text_ends_ends_once_and_says_no_more(small_base: Base) -> None:
    whole = expected_text(small_base, "tell me a story", None, 20)
    engine = AnsweringEngine(small_base, max_batch_rows=2, max_queue=2, bank_stacks=1)
    heard, tokens, ended = list[object](), list[int](), Event()

    def hear(answer: Answer, piece: object) -> None:
        heard.append(piece)
        tokens.append(answer.completion_tokens)
        if piece is None:
            ended.set()

    answer = engine.submit(
        messages_for("tell me a story"), max_new_tokens=40, stop=[whole[len(whole) // 2 :][:4]], listener=hear
    )
    engine.start()
    assert ended.wait(60)
    # The lane goes on with this one: whatever was left of the first would be decoded beside it.
    engine.submit(messages_for("and the weather?"), max_new_tokens=5).text()
    engine.close()

    assert heard.count(None) == 1
    assert heard[-1] is None
    assert tokens[-1] == answer.completion_tokens < 40
    assert answer.finish_reason == "stop"


def test_what_is_kept_of_a_prompt_is_there_when_its_answer_ends(start: Callable[..., AnsweringEngine]) -> None:
    engine, kept = start(), list[bool]()

    def hear(_answer: Answer, piece: object) -> None:
        if piece is None:
            kept.append(bool(engine.prefixes._kept))
            ended.set()

    ended = Event()
    engine.submit(messages_for("tell me a story of the sea"), max_new_tokens=3, owner="anna/", listener=hear)

    assert ended.wait(30)
    assert kept == [True]
