"""The memory prompt remembers nothing of the test part, and always the history as it is."""

from __future__ import annotations

from app.answers.memory import USERS_KEPT, MemoryCache, known_part
from app.database import Database
from app.importing import Import
from app.intake import take_in
from app.repositories import erasure, users
from app.settings import Settings
from engine.history import Sample, split_in_time
from tests.support.keys import someone
from tests.support.records import samples

TENANT = "t"


def add(database: Database, settings: Settings, given: list[Sample], user_id: str = "u") -> None:
    with database.write() as session:
        take_in(session, someone(TENANT), user_id, Import(given, personalize=False), settings)


def nearest(database: Database, cache: MemoryCache, query: str, user_id: str = "u") -> list[str]:
    with database.read() as session:
        return [sample.query for sample in cache.retriever(session, TENANT, user_id).nearest(query, 100)]


def test_what_the_reports_test_on_is_never_remembered(database: Database, settings: Settings) -> None:
    history = samples(40)
    # Sent in the wrong order: what counts is when they happened.
    add(database, settings, history[::-1])
    seen = nearest(database, MemoryCache(), "question 39 answer 39")
    split = split_in_time(history)
    assert set(seen) == {sample.query for sample in [*split.train, *split.validation]}
    assert len(seen) == 32


def test_a_short_history_is_remembered_as_far_as_there_is_one() -> None:
    assert len(known_part(samples(1))) == 1
    assert len(known_part(samples(3))) == 2
    assert list(known_part([])) == []


def test_a_retriever_is_kept_until_the_history_changes(database: Database, settings: Settings) -> None:
    cache = MemoryCache()
    add(database, settings, samples(10))
    with database.read() as session:
        first = cache.retriever(session, TENANT, "u")
        assert cache.retriever(session, TENANT, "u") is first
    add(database, settings, samples(10))
    with database.read() as session:
        assert cache.retriever(session, TENANT, "u") is first, "nothing new was sent"
    add(database, settings, samples(10, first=10))
    assert len(nearest(database, cache, "question")) == 16


def test_another_history_of_the_same_length_is_another_history(database: Database, settings: Settings) -> None:
    cache = MemoryCache()
    add(database, settings, samples(10))
    nearest(database, cache, "question")
    with database.write() as session:
        erasure.erase_history(session, TENANT, "u")
    assert nearest(database, cache, "question") == []
    add(database, settings, [Sample(f"new {i}", "answer") for i in range(10)])
    assert all(query.startswith("new") for query in nearest(database, cache, "question"))


def test_a_user_deleted_and_made_anew_is_not_remembered(database: Database, settings: Settings) -> None:
    cache = MemoryCache()
    add(database, settings, samples(10))
    nearest(database, cache, "question")
    with database.write() as session:
        users.delete_user(session, TENANT, "u")
    add(database, settings, [Sample(f"new {i}", "answer") for i in range(10)])
    assert all(query.startswith("new") for query in nearest(database, cache, "question"))


def test_users_of_one_name_in_two_tenants_are_two(database: Database, settings: Settings) -> None:
    cache = MemoryCache()
    add(database, settings, samples(10))
    with database.write() as session:
        take_in(session, someone("other"), "u", Import([Sample("theirs", "r")], personalize=False), settings)
    nearest(database, cache, "question")
    with database.read() as session:
        theirs = cache.retriever(session, "other", "u").nearest("question", 5)
    assert [sample.query for sample in theirs] == ["theirs"]


def test_no_more_retrievers_are_kept_than_said(database: Database, settings: Settings) -> None:
    cache = MemoryCache()
    for number in range(USERS_KEPT + 3):
        with database.read() as session:
            cache.retriever(session, TENANT, f"u{number}")
    assert len(cache._kept) == USERS_KEPT
    assert (TENANT, "u0") not in cache._kept
