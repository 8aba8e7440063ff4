"""IRC logs: reply pairs, names as numbers, and times of a clock that may go round."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import EmptyHistoryError, InvalidEncodingError, InvalidImportError
from app.importers.reading import Source
from tests.app.importers.files import dropped, fixture, imported, pairs, times

LOG, LINKS = "2008-06-03.small.ascii.txt", "2008-06-03.small.annotation.txt"
WREN, OTTER, HERON = "irc-0824038380", "irc-5727757953", "irc-2397261697"


def log(*lines: str, links: str = "0 1 -", name: str = "2004-12-31.raw.txt") -> Any:
    return imported("irc", Source("\n".join(lines).encode(), name), links)


def test_a_reply_and_what_it_answers_are_a_pair_of_the_one_who_replies() -> None:
    assert pairs(imported("irc", fixture(LOG), fixture(LINKS))) == {
        OTTER: [
            ("my sound is gone since the update", "which card does lspci show?"),
            ("an old one, #3 would know", "then load the module by hand"),
        ],
        WREN: [
            ("which card does lspci show?", "an old one, #3 would know"),
            ("then load the module by hand", "that did it"),
        ],
        HERON: [("my sound is gone since the update", "try the mixer first")],
    }


def test_no_nickname_is_left_in_ids_or_texts() -> None:
    result = imported("irc", fixture(LOG), fixture(LINKS))
    everything = " ".join(f"{user.user_id} {user.samples}" for user in result.users)
    assert not any(name in everything for name in ("wren", "otter", "heron"))


def test_a_nickname_is_one_however_it_is_written_and_whoever_it_is_of() -> None:
    result = log(
        "[09:00] <Bob> anyone?",
        "[09:01] <ann> bob: ask EVE or Dan_, BOB",
        "=== eve [eve@house] has joined #ubuntu",
        "=== dan is now known as Dan_",
    )
    assert pairs(result) == {result.users[0].user_id: [("anyone?", "ask #3 or #5, #1")]}


def test_what_makes_no_pair_is_counted_by_the_logs_lines() -> None:
    assert dropped(imported("irc", fixture(LOG), fixture(LINKS))) == {
        "message that replies to none": (1, (1,)),
        "reply to or by a line that is no message": (1, (6,)),
        "reply to oneself": (1, (7,)),
        "line that is no message": (1, (2,)),
        "message that the annotation does not have": (1, (9,)),
    }


def test_lines_that_are_no_message_are_counted_with_a_link_or_without_but_not_blank_ones() -> None:
    result = log(
        "=== ann has joined",
        "[09:00] <ann> a",
        "",
        "=== eve has left",
        "[09:01] <bob> b",
        "",
        links="0 0 -\n1 4 -\n1 1 -",
    )
    assert dropped(result) == {
        "message that replies to none": (1, (2,)),
        "line that is no message": (2, (1, 4)),
    }


def test_a_message_that_is_only_replied_to_is_not_called_missing() -> None:
    result = log("[09:00] <ann> a", "[09:01] <bob> b", "[09:02] <eve> c")
    assert dropped(result) == {
        "message that replies to none": (1, (1,)),
        "message that the annotation does not have": (1, (3,)),
    }


def test_one_nickname_is_one_user_in_every_log() -> None:
    first = log("[09:00] <ann> a", "[09:01] <Bob> b")
    second = log("[10:00] <eve> c", "[10:01] <bob> d")
    assert first.users[0].name == second.users[0].name


def test_the_day_is_the_files_and_the_hours_go_on_after_noon_on_a_clock_of_twelve() -> None:
    result = imported("irc", fixture(LOG), fixture(LINKS))
    assert times(result, WREN) == ["2008-06-03T11:59:00+00:00", "2008-06-03T13:03:00+00:00"]
    result = imported("irc", Source(fixture(LOG).data), fixture(LINKS))
    assert times(result, WREN) == [None, None]


def test_a_file_name_with_a_year_of_no_log_gives_no_times() -> None:
    result = log("[23:00] <ann> a", "[01:00] <bob> b", name="9999-12-31.ascii.txt")
    (bob,) = {user.name for user in result.users}
    assert times(result, bob) == [None]


def test_a_clock_of_twenty_four_hours_goes_on_the_next_day_and_never_back() -> None:
    result = log("[23:58] <ann> a", "[23:59] <bob> b", "[23:57] <bob> c", "[00:01] <bob> d", links="0 1\n0 2\n0 3")
    (bob,) = {user.name for user in result.users}
    assert times(result, bob) == ["2004-12-31T23:59:00+00:00"] * 2 + ["2005-01-01T00:01:00+00:00"]


def test_a_reply_to_two_messages_is_two_pairs() -> None:
    result = log("[09:00] <ann> a", "[09:00] <eve> b", "[09:01] <bob> c", links="0 2 -\n1 2 -\n")
    assert list(pairs(result).values()) == [[("a", "c"), ("b", "c")]]


@pytest.mark.parametrize(
    ("lines", "links", "kind", "said"),
    [
        (["[09:00] <ann> a"], "zero one", InvalidImportError, "second file, line 1 is no link"),
        (["[09:00] <ann> a"], f"0 0 -\n0 {'7' * 5000} -", InvalidImportError, "second file, line 2 is no link"),
        (
            ["[09:00] <ann> a"],
            "0 0 -\n0 7 -",
            InvalidImportError,
            "second file, line 2 links line 7, but the log has 1",
        ),
        (["mediawiki a log of another kind"], "0 0 -", InvalidImportError, "no message like"),
        (["[09:00] <ann> a"], "0 0 -", EmptyHistoryError, "1 x message that replies to none"),
    ],
)
def test_files_that_do_not_go_together_are_refused(
    lines: list[str], links: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        log(*lines, links=links)


def test_an_annotation_that_is_not_utf8_is_named_as_the_second_file() -> None:
    with pytest.raises(InvalidEncodingError, match="second file, line 2: byte 0xff"):
        imported("irc", fixture(LOG), Source(b"0 0 -\n\xff"))
