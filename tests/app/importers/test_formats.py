"""What holds for every format: limits, the second file, and that any bytes give users or an error that says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import EmptyHistoryError, InvalidImportError, ServiceError
from app.importers.formats import FORMATS, NAMES
from app.importers.reading import utc_time
from app.importers.result import PAIRLESS, REPLACED, UNKEEPABLE, Collector, Limits
from app.importers.turns import paired
from tests.app.importers.files import dropped, imported, pairs

README = Path(__file__).resolve().parents[3] / "README.md"
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["0", "Assistant", "User", "id", "input", "profile", "asin", "questionText", "questions", "answers",
             "answerText", "answererID", "unixTime", "messages", "role", "content", "samples", "user_id", "query"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


def test_the_table_has_every_format_once_and_the_readme_explains_each() -> None:
    assert list(FORMATS) == list(NAMES)
    readme = README.read_text(encoding="utf-8")
    assert [name for name in NAMES if f"| `{name}` |" not in readme] == []


@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=60))
def test_any_bytes_give_an_error_that_says_why(name: str, data: bytes) -> None:
    second = "0 0 -" if name == "irc" else None
    with pytest.raises(ServiceError) as caught:
        imported(name, data, second)
    assert len(caught.value.detail) > 10


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"csv", "irc"}))
@given(thing=anything)
def test_any_json_gives_users_or_an_error_that_says_why(name: str, thing: Any) -> None:
    try:
        result = imported(name, json.dumps(thing))
    except ServiceError:
        return
    assert result.users
    assert all(user.samples for user in result.users)


def test_a_second_file_is_asked_for_where_it_is_needed_and_refused_where_there_is_none() -> None:
    with pytest.raises(InvalidImportError, match="irc needs a second file: the log's annotation"):
        imported("irc", "[09:00] <ann> a")
    with pytest.raises(InvalidImportError, match="csv has no second file"):
        imported("csv", "query,response\na,b", "c")
    with pytest.raises(InvalidImportError, match=r"no format 'xml'\. It is one of milp, openai-chat"):
        imported("xml", "")


def test_a_file_of_which_nothing_is_left_says_what_became_of_it() -> None:
    with pytest.raises(EmptyHistoryError, match=r"not one pair .* Left out: 1 x pair with an empty side"):
        imported("csv", "query,response\n,b", user="u")


def test_what_is_over_a_limit_is_left_out_and_counted() -> None:
    rows = f"query,response,profile\n{'q' * 201},r,\nq,r,{'p' * 41}\n"
    result = imported("csv", rows, user="u")
    assert pairs(result) == {"u": [("q", "r")]}
    assert result.users[0].profile is None
    assert dropped(result) == {
        "pair with a side over 200 characters": (1, (2,)),
        "profile over 40 characters; its user was kept without it": (1, (3,)),
    }


def test_what_no_database_keeps_is_left_out_and_counted() -> None:
    found = Collector(Limits(10, 10))
    found.add("u", "a\0", "b", 1)
    found.add("u", "a", "\ud83d", 2)
    found.profile("u", "\0", 3)
    found.add("u", "a", "b", 4)
    result = found.result("anyone")
    assert pairs(result) == {"u": [("a", "b")]}
    assert dropped(result) == {UNKEEPABLE: (3, (1, 2, 3))}


def test_the_first_places_of_many_are_kept_each_once_and_told_in_words() -> None:
    found = Collector(Limits(10, 10))
    for line in range(1, 30):
        found.drop("odd line", line, 2)
    found.add("u", "a", "b", 30)
    result = found.result("anyone")
    assert dropped(result) == {"odd line": (58, (1, 2, 3, 4, 5))}
    assert list(result.in_words()) == [
        "1 sample of 1 user. Users are anyone.",
        "Left out: 58 x odd line (first: line 1, 2, 3, 4, 5).",
    ]


@given(st.lists(st.tuples(st.booleans(), st.text("ab", min_size=1, max_size=3))))
def test_every_turn_is_in_a_pair_or_counted(turns: list[tuple[bool, str]]) -> None:
    held = paired(turns)
    questions = sum(not is_answer for is_answer, _ in turns)
    answers = len(turns) - questions
    assert sum(query.count("\n") + 1 for query, _ in held.pairs) + held.unanswered == questions
    assert len(held.pairs) + held.unasked == answers


@given(st.text(max_size=20) | st.from_regex(r"[\d:TZ+ -]{0,25}", fullmatch=True))
def test_any_text_is_a_time_in_utc_or_none(text: str) -> None:
    moment = utc_time(text)
    assert moment is None or moment.utcoffset() is not None


def test_a_user_that_a_file_need_not_name_is_taken_and_another_refused() -> None:
    naming = {name for name, known in FORMATS.items() if known.names_users}
    assert naming == {"milp", "lamp", "amazonqa", "irc"}
    for name in sorted(naming):
        with pytest.raises(InvalidImportError, match="say themselves whose a history is"):
            imported(name, "", "" if FORMATS[name].second_needed else None, user="ann")


def test_a_profile_that_is_replaced_and_one_without_a_history_are_told_of() -> None:
    found = Collector(Limits(10, 10))
    found.profile("ann", "bakes", 1)
    found.profile("ann", "bakes", 2)
    found.profile("ann", "swims", 3)
    found.profile("bob", "runs", 4)
    found.add("ann", "q", "r", 5)
    result = found.result("users")
    assert [(user.name, user.profile) for user in result.users] == [("ann", "swims")]
    assert dropped(result) == {REPLACED: (1, (2,)), PAIRLESS: (1, (4,))}
