"""Cursors and pages: nothing seen twice, nothing skipped, whatever is added meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import Session

from app.database import Database
from app.errors import InvalidCursorError
from app.repositories import history, jobs, users, versions
from app.repositories.paging import Page, decode_cursor, encode_cursor
from app.tables import Job, Version
from engine.history import Sample
from tests.support.records import START, add_job, add_user, samples, version


def all_pages(fetch: Callable[[str | None], Page[object]]) -> list[object]:
    found, cursor = [], None
    while True:
        page = fetch(cursor)
        found += page.items
        if page.next_cursor is None:
            return found
        assert page.items, "an empty page must be the last"
        cursor = page.next_cursor


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
"""What a database can keep, and so be asked for."""


@given(st.tuples(TEXTS, st.integers(-(2**63) + 1, 2**63 - 1), st.datetimes(timezones=st.just(UTC))))
def test_a_cursor_gives_back_what_went_in(keys: tuple[str, int, datetime]) -> None:
    assert decode_cursor(encode_cursor(keys), [str, int, datetime]) == list(keys)


@given(st.text())
def test_no_text_breaks_the_cursor_reader(cursor: str) -> None:
    try:
        keys = decode_cursor(cursor, [datetime, int])
    except InvalidCursorError:
        return
    assert isinstance(keys[0], datetime)
    assert isinstance(keys[1], int)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "nonsense",
        "ünïcode",
        encode_cursor(["text"]),
        encode_cursor([1, 2]),
        encode_cursor([START, 2**70]),
        encode_cursor(["2026-01-01T00:00:00", 1]),
        encode_cursor([START, 1, 1]),
        "W" * 100_000,
    ],
    ids=range(9),
)
def test_a_cursor_of_another_list_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursorError, match="next_cursor"):
        decode_cursor(cursor, [datetime, int])


def test_a_page_refuses_the_cursor_of_another_list(database: Database) -> None:
    with database.write() as session:
        add_user(session)
        add_user(session, user_id="v")
        of_users = users.page_users(session, "t", None, 1).next_cursor
        assert of_users is not None
        with pytest.raises(InvalidCursorError):
            history.page_samples(session, "t", "u", of_users, 10)


def test_a_boolean_is_no_number_in_a_cursor() -> None:
    with pytest.raises(InvalidCursorError):
        decode_cursor(encode_cursor([True]), [int])


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_of_a_history_join_to_the_whole(database: Database, limit: int) -> None:
    with database.write() as session:
        # Three samples share each time, so a page often ends between equals.
        same = [Sample(f"q{i}", "a", START + timedelta(hours=i // 3)) for i in range(7)]
        add_user(session, pairs=same)
    with database.read() as session:
        found = all_pages(lambda cursor: history.page_samples(session, "t", "u", cursor, limit))
        assert found == history.samples_in_order(session, "t", "u")
    assert len(found) == 7


def test_samples_added_before_the_cursor_shift_nothing(database: Database) -> None:
    with database.write() as session:
        add_user(session, pairs=samples(6, first=10))
        first = history.page_samples(session, "t", "u", None, 3)
        history.add_samples(session, "t", "u", samples(4), limit=100)
        second = history.page_samples(session, "t", "u", first.next_cursor, 10)
    assert [row.query for row in first.items + second.items] == [f"question {i}" for i in range(10, 16)]
    assert second.next_cursor is None


def test_the_last_item_of_a_page_may_be_deleted(database: Database) -> None:
    with database.write() as session:
        add_user(session, pairs=samples(4))
        first = history.page_samples(session, "t", "u", None, 2)
        session.delete(first.items[-1])
        session.flush()
        second = history.page_samples(session, "t", "u", first.next_cursor, 10)
    assert [row.query for row in second.items] == ["question 2", "question 3"]


def test_newer_jobs_and_versions_do_not_enter_pages_already_begun(database: Database) -> None:
    def made(session: Session, numbers: range) -> None:
        for number in numbers:
            moment = START + timedelta(minutes=number // 2)
            add_job(session).created_at = moment
            session.flush()
            kept = versions.add_version(session, version(number))
            kept.created_at = moment
            session.flush()

    with database.write() as session:
        made(session, range(6))
        first_jobs = jobs.page_jobs(session, "t", limit=3)
        first_versions = versions.page_versions(session, "t", "u", None, 3)
        made(session, range(6, 9))
        rest_jobs = all_pages(lambda c: jobs.page_jobs(session, "t", cursor=c or first_jobs.next_cursor, limit=2))
        rest_versions = all_pages(
            lambda c: versions.page_versions(session, "t", "u", c or first_versions.next_cursor, 2)
        )
    seen_jobs = [item for item in first_jobs.items + rest_jobs if isinstance(item, Job)]
    seen_versions = [item for item in first_versions.items + rest_versions if isinstance(item, Version)]
    assert len({job.id for job in seen_jobs}) == len(seen_jobs) == 6
    assert [job.created_at for job in seen_jobs] == sorted((job.created_at for job in seen_jobs), reverse=True)
    assert [int(v.id[2:], 16) for v in seen_versions] == [5, 4, 3, 2, 1, 0]


def test_users_are_paged_by_id(database: Database) -> None:
    names = ["b", "a", "Z", "user-10", "user-9", "0"]
    with database.write() as session:
        for name in names:
            add_user(session, user_id=name)
        found = all_pages(lambda cursor: users.page_users(session, "t", cursor, 2))
    assert sorted(user.user_id for user in found) == sorted(names)  # type: ignore[attr-defined]


def test_a_cursor_made_in_another_time_zone_means_the_same_moment(database: Database) -> None:
    with database.write() as session:
        add_user(session, pairs=samples(4))
        rows = history.samples_in_order(session, "t", "u")
        elsewhere = rows[1].happened_at.astimezone(timezone(timedelta(hours=5)))
        page = history.page_samples(session, "t", "u", encode_cursor([elsewhere, rows[1].id or 0]), 10)
    assert page.items == rows[2:]
