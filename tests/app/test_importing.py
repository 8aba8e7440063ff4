"""Histories as they come in become samples, or an error that says where."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from app import errors
from app.importing import Importer, job_options_from
from app.settings import Settings
from engine.history import Sample


@pytest.fixture
def importer() -> Importer:
    return Importer(Settings(_env_file=None, max_history_samples=50, max_sample_chars=100, max_profile_chars=20))


def as_json(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def lines(*objects: object) -> bytes:
    return "\n".join(json.dumps(o, ensure_ascii=False) for o in objects).encode()


def chat(*turns: tuple[str, object], **more: object) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role, content in turns], **more}


PAIR = {"query": "q", "response": "r"}


def test_pairs_keep_their_order_their_time_and_their_kind(importer: Importer) -> None:
    given = importer.from_json(
        as_json(
            samples=[
                {"query": "later", "response": "b", "time": "2026-01-02T10:00:00+02:00", "kind": "mail"},
                {"query": "earlier", "response": "a", "time": "2008-06-03 11:08"},
                PAIR,
            ],
            profile="a cook",
            personalize=False,
            options={"preset": "standard", "seed": 3},
        )
    )
    assert given.samples == [
        Sample("later", "b", datetime(2026, 1, 2, 8, tzinfo=UTC), "mail"),
        Sample("earlier", "a", datetime(2008, 6, 3, 11, 8, tzinfo=UTC)),
        Sample("q", "r"),
    ]
    assert given.profile == "a cook"
    assert given.personalize is False
    assert given.options is not None
    assert (given.options.preset, given.options.seed) == ("standard", 3)


def test_each_user_turn_with_the_assistants_next_is_a_sample(importer: Importer) -> None:
    conversation = chat(
        ("system", "be brief"),
        ("assistant", "hello, what is it?"),
        ("user", "hi"),
        ("user", "why is it slow?"),
        ("assistant", "the disk"),
        ("tool", "ignored"),
        ("user", "thanks"),
        ("assistant", "welcome"),
        ("user", "never answered"),
        time="2026-01-01T00:00:00Z",
        kind="chat",
    )
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    expected = [
        Sample("hi\nwhy is it slow?", "the disk", moment, "chat"),
        Sample("thanks", "welcome", moment, "chat"),
    ]
    assert importer.from_jsonl(lines(conversation)).samples == expected
    assert importer.from_json(json.dumps(conversation).encode()).samples == expected


def test_lines_may_be_pairs_and_blank_lines_do_not_count(importer: Importer) -> None:
    body = b"\xef\xbb\xbf" + lines(PAIR, chat(("user", "a"), ("assistant", "b"))).replace(b"\n", b"\r\n\r\n")
    assert importer.from_jsonl(body).samples == [Sample("q", "r"), Sample("a", "b")]


def test_a_line_separator_within_a_text_does_not_end_the_line(importer: Importer) -> None:
    samples = importer.from_jsonl(lines({"query": "one\u2028two", "response": "r"})).samples
    assert samples == [Sample("one\u2028two", "r")]


def test_content_in_text_parts_is_joined(importer: Importer) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert importer.from_jsonl(lines(chat(("user", parts), ("assistant", "c")))).samples == [Sample("ab", "c")]


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (lines(PAIR) + b"\n{oops", errors.InvalidJsonError, "line 2"),
        (lines(PAIR, {"query": "q", "response": 3}), errors.InvalidInputError, "line 2: response"),
        (lines(PAIR, PAIR, {"query": "q"}), errors.InvalidInputError, "line 3: response"),
        (lines({**PAIR, "time": "yesterday"}), errors.InvalidInputError, "line 1: time"),
        (lines({**PAIR, "time": 5}), errors.InvalidInputError, "line 1: time"),
        (lines({**PAIR, "time": "0001-01-01T00:00:00+14:00"}), errors.InvalidInputError, "line 1: time"),
        (lines({**PAIR, "kind": "x" * 33}), errors.InvalidInputError, "line 1: kind"),
        (lines({"query": "a\0b", "response": "r"}), errors.InvalidInputError, "NUL"),
        (lines(chat(("user", "a\0"), ("assistant", "b"))), errors.InvalidInputError, "NUL"),
        (b'{"query": "\\ud800", "response": "r"}', errors.InvalidJsonError, "line 1"),
        (lines(PAIR) + b'\n{"query": "caf\xe9", "response": "r"}', errors.InvalidEncodingError, "line 2: byte 0xe9"),
        (lines(PAIR, {"query": "q", "response": " \n"}), errors.EmptyHistoryError, "line 2: the response is empty"),
        (lines(chat(("user", "anyone?"))), errors.EmptyHistoryError, "line 1"),
        (lines(chat(("assistant", "hello"))), errors.EmptyHistoryError, "line 1"),
        (lines({"query": "q", "response": "r" * 101}), errors.SampleTooLongError, "line 1: the response has 101"),
        (lines(*[PAIR] * 51), errors.TooManySamplesError, "50"),
        (lines(chat(("user", [{"type": "image_url"}]), ("assistant", "b"))), errors.InvalidInputError, "type text"),
        (lines([1]), errors.InvalidInputError, "line 1"),
        (b"\n \n", errors.EmptyHistoryError, "not one pair"),
        (b"", errors.EmptyHistoryError, "not one pair"),
        (b"[" * 100_000, errors.InvalidJsonError, "line 1"),
        (b'{"query": NaN, "response": "r"}', errors.InvalidJsonError, "line 1"),
    ],
)
def test_a_bad_line_is_named(importer: Importer, body: bytes, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind) as caught:
        importer.from_jsonl(body)
    assert type(caught.value) is kind
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (as_json(samples=[]), errors.EmptyHistoryError, "not one pair"),
        (as_json(), errors.InvalidInputError, "samples"),
        (as_json(samples="many"), errors.InvalidInputError, "samples"),
        (as_json(samples=[PAIR, {"query": "", "response": "r"}]), errors.EmptyHistoryError, "samples[1]: the query"),
        (as_json(samples=[PAIR] * 51), errors.TooManySamplesError, "50"),
        (as_json(samples=[PAIR], profile="x" * 21), errors.InvalidInputError, "profile"),
        (as_json(samples=[PAIR], profile="\0"), errors.InvalidInputError, "profile"),
        (as_json(samples=[PAIR], personalize="yes"), errors.InvalidInputError, "personalize"),
        (as_json(samples=[PAIR], personalize=1), errors.InvalidInputError, "personalize"),
        (as_json(samples=[PAIR], options={"trials": "12"}), errors.InvalidInputError, "options.trials"),
        (as_json(samples=[PAIR], options={"trials": True}), errors.InvalidInputError, "options.trials"),
        (as_json(samples=[PAIR], samplez=[]), errors.InvalidInputError, "samplez"),
        (as_json(**chat(("user", " "), ("assistant", "b"))), errors.EmptyHistoryError, "messages: the query is empty"),
        (as_json(**chat(("user", "a"), ("assistant", "b" * 101))), errors.SampleTooLongError, "messages: the response"),
        (as_json(**chat(*[("user", "a"), ("assistant", "b")] * 51)), errors.TooManySamplesError, "50"),
        (b"3", errors.InvalidInputError, "valid dictionary"),
        (b"{", errors.InvalidJsonError, "JSON"),
        ("ä".encode("latin-1"), errors.InvalidEncodingError, "0xe4"),
    ],
)
def test_a_bad_body_is_refused_with_the_place(
    importer: Importer, body: bytes, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind) as caught:
        importer.from_json(body)
    assert type(caught.value) is kind
    assert said in str(caught.value)


def test_many_wrong_samples_are_counted_and_ten_of_them_listed(importer: Importer) -> None:
    with pytest.raises(errors.InvalidInputError) as caught:
        importer.from_json(as_json(samples=[{"query": "q", "response": 1}] * 30))
    assert "and 29 more" in caught.value.detail
    assert len(caught.value.extra["errors"]) == 10
    assert caught.value.extra["errors"][3]["pointer"] == "/samples/3/response"


def test_an_error_never_repeats_the_users_text(importer: Importer) -> None:
    with pytest.raises(errors.InvalidInputError) as caught:
        importer.from_json(as_json(samples=[{"query": ["my secret"], "response": "r"}]))
    assert "secret" not in caught.value.detail + json.dumps(caught.value.extra)


def test_options_in_a_form_are_read_strictly() -> None:
    assert job_options_from('{"trials": 12}').trials == 12
    with pytest.raises(errors.InvalidInputError, match="options: trials"):
        job_options_from('{"trials": "12"}')
    with pytest.raises(errors.InvalidJsonError, match="options"):
        job_options_from("trials=12")
