"""The native format, read and written."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInputError
from app.importers.milp import as_jsonl
from app.importers.result import DUPLICATE, EMPTY, PAIRLESS, ImportedUser
from engine.history import Sample
from tests.app.importers.files import dropped, fixture, imported, pairs

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30).filter(
    str.strip
)
moments = st.none() | st.integers(0, 4 * 10**9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
samples = st.builds(Sample, texts, texts, moments, st.sampled_from(["dialogue", "note"]))


def test_users_keep_profile_times_and_kinds() -> None:
    result = imported("milp", fixture("milp.jsonl"))
    mira, tom = result.users
    assert (mira.name, mira.user_id, mira.profile) == ("mira", "mira", "Bakes on Sundays.")
    assert mira.samples == (
        Sample("First?", "No.", datetime(2026, 1, 1, 10, tzinfo=UTC)),
        Sample("Second?", "Yes.", datetime(2026, 2, 1, 7, tzinfo=UTC), "note"),
    )
    assert (tom.name, tom.user_id, tom.profile) == ("tom/w", "tom-w-017be0e8", None)
    assert dropped(result) == {EMPTY: (1, (1,)), DUPLICATE: (1, (2,))}


def test_lines_of_one_user_are_one_history() -> None:
    line = '{"user_id": "u", "samples": [{"query": "%s", "response": "r"}]}'
    assert pairs(imported("milp", f"{line % 'a'}\n{line % 'b'}")) == {"u": [("a", "r"), ("b", "r")]}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"samples": []}', "line 1: user_id"),
        ('{"user_id": "", "samples": []}', "line 1: user_id"),
        ('{"user_id": "u"}', "line 1: samples"),
        ('{"user_id": "u", "samples": [{"query": "a"}]}', "line 1: samples.0.response"),
        ('{"user_id": "u", "samples": [{"query": "a", "response": "b", "time": "then"}]}', "line 1: samples.0.time"),
        ('{"user_id": "u", "profile": 3, "samples": []}', "line 1: profile"),
    ],
)
def test_a_wrong_line_is_named_with_what_is_wrong(line: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        imported("milp", line)


@given(st.lists(samples, min_size=1, max_size=8, unique_by=lambda s: (s.query.split(), s.response.split()).__repr__()),
       st.none() | texts)  # fmt: skip
def test_what_is_written_reads_back_as_it_was(history: list[Sample], profile: str | None) -> None:
    (user,) = imported("milp", as_jsonl((ImportedUser("u", tuple(history), profile),))).users
    assert sorted(user.samples, key=repr) == sorted(history, key=repr)
    assert user.profile == profile
    assert imported("milp", as_jsonl((user,))).users == (user,)


def test_fields_and_users_that_are_of_no_use_are_counted() -> None:
    lines = [
        '{"user_id": "u", "tags": 1, "score": 2, "samples": [{"query": "a", "response": "b", "rating": 5}]}',
        '{"user_id": "empty", "samples": []}',
        '{"user_id": "told", "profile": "Bakes.", "samples": []}',
    ]
    result = imported("milp", "\n".join(lines))
    assert pairs(result) == {"u": [("a", "b")]}
    assert dropped(result) == {
        "field that is none of user_id, profile and samples": (2, (1,)),
        "field of a sample that is none of query, response, time and kind": (1, (1,)),
        "user without a sample": (1, (2,)),
        PAIRLESS: (1, (3,)),
    }
