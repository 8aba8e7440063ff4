"""Histories: every sample once, in time order, within the limit."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.database import Database
from app.errors import InvalidEncodingError, TooManySamplesError, UserNotFoundError
from app.repositories import history
from app.repositories.history import Added, sample_digest, to_sample
from engine.history import Sample
from tests.support.records import START, add_user, samples


def test_samples_come_back_in_time_order_whatever_order_they_came_in(database: Database) -> None:
    shuffled = samples(50)
    random.Random(3).shuffle(shuffled)
    with database.write() as session:
        add_user(session, pairs=shuffled[:20])
        history.add_samples(session, "t", "u", shuffled[20:], limit=100)
    with database.read() as session:
        rows = history.samples_in_order(session, "t", "u")
    assert [to_sample(row) for row in rows] == samples(50)


def test_samples_of_one_time_stay_in_order_of_arrival(database: Database) -> None:
    same = [Sample(f"q{i}", "a", START) for i in range(30)]
    with database.write() as session:
        add_user(session, pairs=same)
        assert [to_sample(row) for row in history.samples_in_order(session, "t", "u")] == same


def test_samples_without_a_time_happened_when_they_came_in_that_order(database: Database) -> None:
    timeless = [Sample(f"q{i}", "a") for i in range(5)]
    before = datetime.now(UTC)
    with database.write() as session:
        add_user(session, pairs=timeless)
        history.add_samples(session, "t", "u", [Sample("later", "a"), Sample("long ago", "a", START)], limit=10)
        rows = history.samples_in_order(session, "t", "u")
    assert [row.query for row in rows] == ["long ago", "q0", "q1", "q2", "q3", "q4", "later"]
    assert rows[1].happened_at >= before
    assert [row.time_given for row in rows] == [True] + [False] * 6
    assert [to_sample(row) for row in rows[1:6]] == timeless


def test_a_time_is_kept_as_the_moment_it_names(database: Database) -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    given = [
        Sample("aware", "a", datetime(2026, 1, 1, 12, tzinfo=india)),
        Sample("naive", "a", datetime(2026, 1, 1, 7)),  # noqa: DTZ001
    ]
    with database.write() as session:
        add_user(session, pairs=given)
    with database.read() as session:
        rows = history.samples_in_order(session, "t", "u")
    assert [(row.query, row.happened_at.isoformat()) for row in rows] == [
        ("aware", "2026-01-01T06:30:00+00:00"),
        ("naive", "2026-01-01T07:00:00+00:00"),
    ]


def test_a_sample_is_kept_once(database: Database) -> None:
    with database.write() as session:
        add_user(session)
        first = history.add_samples(
            session, "t", "u", [Sample("Q", "A"), Sample("Q", "A"), Sample(" Q \n", "A\t")], limit=10
        )
        again = history.add_samples(session, "t", "u", [Sample("Q", "A", START), Sample("Q", "B")], limit=10)
        assert history.count_samples(session, "t", "u") == 2
    assert first == Added(added=1, duplicates=2, total=1)
    assert again == Added(added=1, duplicates=1, total=2)


def test_digests_tell_query_from_response_and_case_from_case() -> None:
    pairs = [("a b", "c"), ("a", "b c"), ("c", "a b"), ("A b", "c"), ("a b c", ""), ("", "a b c")]
    assert len({sample_digest(*pair) for pair in pairs}) == len(pairs)
    assert sample_digest("a \u00a0\n b", " c ") == sample_digest("a b", "c")
    assert len(sample_digest("a", "b")) == 64


def test_too_many_samples_are_refused_and_none_is_added(database: Database) -> None:
    with database.write() as session:
        add_user(session, pairs=samples(3))
        with pytest.raises(TooManySamplesError, match=r"would have 6 samples; at most 5"):
            history.add_samples(session, "t", "u", samples(4, first=2), limit=5)
        assert history.count_samples(session, "t", "u") == 3
        # Duplicates do not count.
        assert history.add_samples(session, "t", "u", samples(5), limit=5).total == 5


@pytest.mark.parametrize("broken", ["nul \0 inside", "half \ud83d of a pair"])
def test_text_that_no_database_takes_is_refused_and_none_is_added(database: Database, broken: str) -> None:
    with database.write() as session:
        add_user(session)
        with pytest.raises(InvalidEncodingError, match="Sample 1 contains"):
            history.add_samples(session, "t", "u", [Sample("fine", "a"), Sample("q", broken)], limit=5)
        assert history.count_samples(session, "t", "u") == 0


def test_text_comes_back_letter_for_letter(database: Database) -> None:
    text = "  naïve 👩‍⚕️ 日本語 \r\n\t'quote' \"double\" %s :name \\ \u202e  "
    with database.write() as session:
        add_user(session, pairs=[Sample(text, text, START, "email")])
    with database.read() as session:
        assert [to_sample(row) for row in history.samples_in_order(session, "t", "u")] == [
            Sample(text, text, START, "email")
        ]


def test_no_history_without_a_user(database: Database) -> None:
    with database.write() as session, pytest.raises(UserNotFoundError):
        history.add_samples(session, "t", "nobody", samples(1), limit=5)


def test_samples_by_ids_come_in_the_order_of_the_ids(database: Database) -> None:
    with database.write() as session:
        add_user(session, pairs=samples(6_000))
        rows = history.samples_in_order(session, "t", "u")
        ids = [row.id for row in rows if row.id is not None]
        random.Random(1).shuffle(ids)
        assert [row.id for row in history.samples_by_ids(session, "t", ids)] == ids
        assert history.samples_by_ids(session, "t", []) == []


def test_ids_of_deleted_samples_are_never_given_to_others(database: Database) -> None:
    with database.write() as session:
        add_user(session, pairs=samples(5))
        old = [row.id for row in history.samples_in_order(session, "t", "u") if row.id is not None]
        assert history.delete_history(session, "t", "u") == 5
    with database.write() as session:
        history.add_samples(session, "t", "u", samples(5, first=5), limit=10)
        assert history.samples_by_ids(session, "t", old) == []
        assert history.count_samples(session, "t", "u") == 5
