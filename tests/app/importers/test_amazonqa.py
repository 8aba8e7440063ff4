"""AmazonQA: pairs of people where the file names them, else of products."""

from __future__ import annotations

import json

import pytest

from app.errors import InvalidImportError, InvalidJsonError
from app.importers.result import PAIRLESS, REPLACED, UNANSWERED, UNREAD_TIME
from tests.app.importers.files import dropped, fixture, imported, pairs, times


def test_where_nobody_is_named_a_product_is_the_user_and_its_text_the_profile() -> None:
    result = imported("amazonqa", fixture("amazonqa.jsonl"))
    assert pairs(result) == {
        "amazon-B00LAMP": [
            ("Does it dim?", "In three steps."),
            ("Does it dim?", "Not really."),
            ("Is the cord long?", "A metre."),
        ]
    }
    assert result.users[0].profile == "A desk lamp"
    assert result.users_are == "products (asin), for nobody is named"
    assert dropped(result) == {UNANSWERED: (1, (2,)), "review, which answers no question": (3, (1, 3))}


def test_where_answerers_are_named_each_is_a_user_with_their_answers_in_time_order() -> None:
    result = imported("amazonqa", fixture("amazonqa_people.json"))
    assert pairs(result) == {
        "amazon-HELPER": [("Steel inside?", "Only the floor of it."), ("What's the bulb?", "An E14.")],
        "amazon-OTHER": [("Steel inside?", "Yes")],
    }
    assert times(result, "amazon-HELPER") == ["2014-01-03T00:00:00+00:00", "2014-01-05T00:00:00+00:00"]
    assert result.users_are == "people who answered (answererID)"
    assert dropped(result) == {"answer that says not whose it is": (1, (1,)), UNREAD_TIME: (1, (2,))}


def test_where_only_askers_are_named_they_are_the_users() -> None:
    line = {"asin": "B", "askerID": "Q", "questionText": "q?", "title": "A lamp", "answers": ["r."]}
    result = imported("amazonqa", json.dumps(line))
    assert pairs(result) == {"amazon-Q": [("q?", "r.")]}
    assert result.users_are == "people who asked (askerID)"
    assert result.users[0].profile is None
    assert dropped(result) == {"text of a product, where users are people": (1, (1,))}


def test_a_line_may_be_one_question_with_its_one_answer() -> None:
    line = {"asin": "B", "question": "q?", "answer": "r.", "unixTime": 1400000000, "answerTime": "May 13, 2014"}
    result = imported("amazonqa", json.dumps(line))
    assert pairs(result) == {"amazon-B": [("q?", "r.")]}
    assert times(result, "amazon-B") == ["2014-05-13T16:53:20+00:00"]


def test_a_products_text_may_be_paragraphs() -> None:
    line = {"asin": "B", "question": "q?", "answer": "r.", "title": "A lamp", "description": ["It dims.", "", "E14."]}
    assert imported("amazonqa", json.dumps(line)).users[0].profile == "A lamp\nIt dims.\nE14."


@pytest.mark.parametrize("seconds", ["1375574400", "1375574400.0", "1.3755744e9", '"1375574400"'])
def test_whole_seconds_are_read_however_they_are_written(seconds: str) -> None:
    result = imported("amazonqa", f'{{"asin": "B", "question": "q?", "answer": "r.", "unixTime": {seconds}}}')
    assert times(result, "amazon-B") == ["2013-08-04T00:00:00+00:00"]
    assert dropped(result) == {}


@pytest.mark.parametrize("seconds", ["1375574400.5", "1e300", "-1", "True", "[1375574400]", "''", "0x" + "f" * 5000])
def test_seconds_that_cannot_be_read_are_counted_unless_the_day_is_told_too(seconds: str) -> None:
    line = f"{{'asin': 'B', 'question': 'q?', 'answer': 'r.', 'unixTime': {seconds}}}"
    result = imported("amazonqa", line)
    assert pairs(result) == {"amazon-B": [("q?", "r.")]}
    assert times(result, "amazon-B") == [None]
    assert dropped(result) == {UNREAD_TIME: (1, (1,))}
    result = imported("amazonqa", line.replace("}", ", 'answerTime': 'May 13, 2014'}"))
    assert times(result, "amazon-B") == ["2014-05-13T00:00:00+00:00"]
    assert dropped(result) == {}


@pytest.mark.parametrize("more", ["", ", 'unixTime': None"])
def test_an_answer_without_a_time_has_lost_none(more: str) -> None:
    result = imported("amazonqa", f"{{'asin': 'B', 'question': 'q?', 'answer': 'r.'{more}}}")
    assert times(result, "amazon-B") == [None]
    assert dropped(result) == {}


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("oops", InvalidJsonError, "line 1: the text is not JSON"),
        ("{'asin': open('x')}", InvalidImportError, "line 1 is neither JSON nor a Python dict of plain values"),
        ("{'asin': " + "[" * 5000, InvalidImportError, "line 1 is neither"),
        ("[]", InvalidImportError, "line 1 is not an object"),
        ('{"questionText": "q"}', InvalidImportError, "line 1 has no `asin`"),
        ('{"asin": "B"}', InvalidImportError, "line 1 has no `questionText`"),
        ('{"asin": "B", "questionText": 3}', InvalidImportError, "line 1: `questionText` is not a text"),
        ('{"asin": "B", "questionText": "q", "answers": "r"}', InvalidImportError, "line 1: `answers` is not a list"),
        ('{"asin": "B", "questionText": "q", "answers": [3]}', InvalidImportError, "line 1: `answers` holds"),
    ],
)
def test_a_line_of_another_form_is_named(line: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        imported("amazonqa", line)


def test_the_text_of_a_product_without_an_answer_and_a_text_that_another_replaces_are_counted() -> None:
    asked = {"asin": "A", "questionText": "Works?", "answers": [{"answerText": "Yes."}], "title": "Lamp"}
    again = {"asin": "A", "questionText": "Heavy?", "answers": [{"answerText": "No."}], "title": "A lamp"}
    silent = {"asin": "B", "questionText": "Blue?", "answers": [], "title": "Chair"}
    result = imported("amazonqa", "\n".join(map(json.dumps, (asked, again, silent))))
    assert [(user.name, user.profile) for user in result.users] == [("amazon-A", "A lamp")]
    assert dropped(result) == {UNANSWERED: (1, (3,)), REPLACED: (1, (1,)), PAIRLESS: (1, (3,))}
