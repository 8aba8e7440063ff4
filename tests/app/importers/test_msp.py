"""MSP and Pchatbot: pairs of who responded, told apart by id, by name, or by what they said before."""

from __future__ import annotations

import re

import pytest

from app.errors import InvalidImportError
from app.importers.result import UNREAD_TIME
from tests.app.importers.files import dropped, fixture, imported, pairs, times


def test_lines_with_the_same_earlier_responses_are_one_users() -> None:
    result = imported("msp", fixture("msp.txt"))
    first, second = pairs(result).values()
    assert first == [("Which tea?", "Black, strong."), ("Which cup?", "The blue one.")]
    assert second == [("Rain today?", "Take a coat.")]
    assert dropped(result) == {"earlier response without what it answered": (5, (1, 2, 3))}
    assert all(re.fullmatch(r"msp-[0-9a-f]{12}", user.user_id) for user in result.users)


def test_lines_whose_history_grows_or_slides_are_one_users() -> None:
    said = [f"said {i}" for i in range(7)]
    growing = [f"q{i}\t{said[i]}\t" + "\t".join(said[:i]) for i in range(1, 7)]
    sliding = [f"q{i}\tother {i}\t" + "\t".join(f"other {k}" for k in range(max(0, i - 3), i)) for i in range(1, 7)]
    mixed = [line for both in zip(growing, sliding, strict=True) for line in both]
    grown, slid = pairs(imported("msp", "\n".join(mixed))).values()
    assert grown == [(f"q{i}", said[i]) for i in range(1, 7)]
    assert slid == [(f"q{i}", f"other {i}") for i in range(1, 7)]


def test_what_anybody_says_makes_nobody_the_same() -> None:
    lines = [f"q\tok\tok\tthanks\tc{i}" for i in range(40)] + [f"q\thello{i}\tok\thello\td{i}" for i in range(40)]
    assert len(pairs(imported("msp", "\n".join(lines)))) == 80


def test_a_line_before_which_nothing_was_said_is_left_out_where_others_tell_whose_they_are() -> None:
    result = imported("msp", "q0\tr0\nq1\tr1\tr0\nq2\tr2\tr0\tr1")
    assert list(pairs(result).values()) == [[("q1", "r1"), ("q2", "r2")]]
    assert dropped(result)["line with neither user nor history"] == (1, (1,))


def test_a_named_user_has_all_lines_with_or_without_history() -> None:
    assert pairs(imported("msp", "q1\tr1\nq2\tr2\told", user="ann")) == {"ann": [("q1", "r1"), ("q2", "r2")]}


def test_hashes_separate_as_tabs_do() -> None:
    result = imported("msp", "a post###a response###said before\tand this\n")
    assert list(pairs(result).values()) == [[("a post", "a response")]]
    assert pairs(result) == pairs(imported("msp", "a post\ta response\tsaid before\tand this"))


def test_lines_with_ids_and_times_are_of_who_responded_in_time_order() -> None:
    result = imported("msp", fixture("pchatbot.txt"))
    assert pairs(result) == {
        "msp-42": [
            ("First post", "An earlier answer"),
            ("今天天气好吗？", "好得很，really good"),
            ("Second post", "A later answer"),
        ],
        "msp-43": [("A post", "Another person")],
    }
    assert times(result, "msp-43") == ["2018-10-20T01:46:40+00:00"]
    assert dropped(result) == {}


def test_a_time_that_cannot_be_read_is_told_and_its_pair_kept() -> None:
    result = imported("msp", "q\t1\t99:99\tr\t2\t99:99")
    assert pairs(result) == {"msp-2": [("q", "r")]}
    assert dropped(result) == {UNREAD_TIME: (1, (1,))}


@pytest.mark.parametrize(
    ("text", "said"), [("q\tr\tbefore\nonly", "line 2 has one field"), ("q\tr", "line 1 has neither user nor history")]
)
def test_a_line_of_another_form_is_named(text: str, said: str) -> None:
    with pytest.raises(InvalidImportError, match=said):
        imported("msp", text)


def test_columns_after_those_of_pchatbot_are_counted() -> None:
    result = imported("msp", "q\t1\t1540000000\tr\t2\t1540000001\tmore\tand more")
    assert (pairs(result), dropped(result)) == ({"msp-2": [("q", "r")]}, {"column after the sixth": (2, (1,))})
