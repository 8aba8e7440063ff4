"""LaMP: how the entries of a profile become pairs, of which tasks, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.errors import InvalidImportError, InvalidInputError
from app.importers.result import DUPLICATE, EMPTY, UNREAD_TIME
from tests.app.importers.files import dropped, fixture, imported, pairs, times

HEADLINE = "Generate a headline for the following article:"


def question(asks: str, *profile: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "7", "input": asks, "profile": list(profile), **more}


def test_an_entry_is_lamps_own_question_about_its_text_and_the_output_is_the_last_pair() -> None:
    result = imported("lamp", fixture("lamp4_questions.json"), fixture("lamp4_outputs.json"))
    assert pairs(result) == {
        "lamp4-310": [
            (f"{HEADLINE} An orchard is given up.", "The Last Apple Harvest"),
            (f"{HEADLINE} Two metres fell overnight.", "Snow Closes the Pass"),
            (f"{HEADLINE} From the archive.", "Undated Notes"),
            (f"{HEADLINE} The harbour froze for the first time in a decade.", "Harbour on Ice"),
        ],
        "lamp4-311": [(f"{HEADLINE} The mayor cut the ribbon.", "A Bridge Opens")],
    }
    assert times(result, "lamp4-310") == ["2013-10-12T00:00:00+00:00", "2014-02-03T00:00:00+00:00", None, None]
    assert result.place == "question"
    assert dropped(result) == {
        EMPTY: (1, (1,)),
        UNREAD_TIME: (1, (1,)),
        "question that nobody answers, for there is no output of it": (1, (2,)),
    }


def test_an_output_whose_question_is_not_there_is_counted() -> None:
    golds = [{"id": "7", "output": "New"}, {"id": "8", "output": "Old"}]
    asked = json.dumps([question(HEADLINE, {"text": "a", "title": "b"})])
    result = imported("lamp", asked, json.dumps({"task": "LaMP_4", "golds": golds}))
    assert dropped(result) == {"output whose question is not in the first file, counted in the second": (1, (2,))}


def test_without_outputs_the_profiles_are_the_histories() -> None:
    result = imported("lamp", fixture("lamp4_questions.json"))
    assert [len(found) for found in pairs(result).values()] == [3, 1]
    assert dropped(result)["question that nobody answers, for there is no output of it"] == (2, (1, 2))


@pytest.mark.parametrize(
    ("asks", "entry", "pair"),
    [
        (
            "Generate a title for the following abstract of a paper: new",
            {"abstract": "We count.", "title": "On Counting", "date": 2015},
            ("Generate a title for the following abstract of a paper: We count.", "On Counting"),
        ),
        (
            "Generate a subject for the following email: new",
            {"text": "Lunch at noon?", "title": "Lunch"},
            ("Generate a subject for the following email: Lunch at noon?", "Lunch"),
        ),
        (
            "Paraphrase the following tweet without any explanation before or after it: new",
            {"text": "the sea was far too cold for us today but lovely"},
            ("Complete the following tweet: the sea", "was far too cold for us today but lovely"),
        ),
    ],
)
def test_papers_emails_and_tweets_make_pairs_too(asks: str, entry: dict[str, Any], pair: tuple[str, str]) -> None:
    result = imported("lamp", json.dumps([question(asks, entry)]))
    assert list(pairs(result).values()) == [[pair]]
    assert result.users[0].name.startswith("lamp")


def test_questions_about_one_writer_are_one_user() -> None:
    entry = {"text": "t", "title": "T", "date": "2014-05"}
    asked = [question(f"{HEADLINE} {i}", entry, id=str(i), user_id=55) for i in range(2)]
    golds = [{"id": "0", "output": "Zero"}, {"id": "1", "output": "One"}]
    result = imported("lamp", json.dumps(asked), json.dumps({"task": "LaMP_4", "golds": golds}))
    assert [answer for _, answer in pairs(result)["lamp4-55"]] == ["T", "Zero", "One"]
    assert dropped(result) == {DUPLICATE: (1, (2,))}
    assert result.users_are == "who wrote a profile (user_id)"


def test_a_tweet_of_one_word_is_left_out() -> None:
    asks = "Paraphrase the following tweet without any explanation before or after it: x"
    result = imported("lamp", json.dumps([question(asks, {"text": "Hello"}, {"text": "Good morning"})]))
    assert list(pairs(result).values()) == [[("Complete the following tweet: Good", "morning")]]
    assert dropped(result)["tweet of one word, which cannot be cut in two"] == (1, (1,))


@pytest.mark.parametrize(
    ("questions", "outputs", "kind", "said"),
    [
        ([question("What is the score of the following review", {"text": "t", "score": "5"})], None,
         InvalidImportError, "question 1 is of none of LaMP-4, 5, 6 and 7"),
        ([question("For an author who has written the paper", {"title": "t", "abstract": "a"})], None,
         InvalidImportError, "LaMP-1, 2 and 3 ask for a class"),
        ([question(HEADLINE, {"text": "t", "title": "T"}), question("Paraphrase the following tweet")], None,
         InvalidImportError, "question 2 is not of LaMP-4"),
        ([question(HEADLINE, {"text": "t"})], None, InvalidImportError, "question 1, profile entry 1 has no"),
        ([question("Generate a subject for the following email: 123", {"text": "9"})], None,
         InvalidImportError, "Avocado"),
        ([question(HEADLINE)], {"task": "LaMP_5", "golds": []}, InvalidImportError, "second file: its `task`"),
        ([question(HEADLINE)], {"task": "LaMP_" + "4" * 5000, "golds": []}, InvalidImportError, "its `task`"),
        ([question(HEADLINE)], {"golds": []}, InvalidInputError, "second file: task"),
        ([], None, InvalidImportError, "no question in this file"),
        ([{"id": "1", "input": HEADLINE}], None, InvalidInputError, "0.profile"),
        ({"task": "LaMP_4", "golds": []}, None, InvalidInputError, "valid list"),
    ],
)  # fmt: skip
def test_what_makes_no_history_is_refused_with_the_reason(
    questions: Any, outputs: Any, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        imported("lamp", json.dumps(questions), None if outputs is None else json.dumps(outputs))


def test_of_two_outputs_of_a_question_the_last_counts_and_the_other_is_told_of() -> None:
    golds = [{"id": "7", "output": "Old"}, {"id": "7", "output": "New"}]
    asked = question(HEADLINE, {"text": "a", "title": "b"})
    result = imported("lamp", json.dumps([asked]), json.dumps({"task": "LaMP_4", "golds": golds}))
    assert [response for _, response in pairs(result)["lamp4-7"]] == ["b", "New"]
    assert dropped(result) == {"output whose question has a later one, counted in the second file": (1, (1,))}
    with pytest.raises(InvalidImportError, match="Two questions have the same `id`"):
        imported("lamp", json.dumps([asked, asked]))
