"""Tallies: added up by many at once, over all tenants, and never less than before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from app.database import Database
from app.repositories import erasure, tallies, users
from app.repositories.tallies import LABELS, Counted, Sum
from tests.support.records import add_job, add_trials, add_user, samples


def test_all_kinds_there_are_begin_at_nothing(database: Database) -> None:
    with database.read() as session:
        found = tallies.of_all_tenants(session)
    assert found == {what: dict.fromkeys(labels, Sum(0)) for what, labels in LABELS.items()}


def test_what_many_add_at_once_is_all_there(database: Database) -> None:
    def add(number: int) -> None:
        with database.write() as session:
            spent = {"train": Sum(1, 0.5), "plan": Sum(2, 0.25)}
            tallies.add(session, f"tenant-{number % 2}", Counted.phase, spent)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))
    with database.read() as session:
        phases = tallies.of_all_tenants(session)[Counted.phase]
    assert (phases["train"], phases["plan"], phases["publish"]) == (Sum(40, 20.0), Sum(80, 10.0), Sum(0))


def test_they_stay_when_the_user_they_came_from_is_deleted(database: Database) -> None:
    with database.write() as session:
        add_user(session, pairs=samples(3))
        add_trials(session, add_job(session), 2)
        tallies.add(session, "t", Counted.trial, {"succeeded": Sum(2)})
    with database.write() as session:
        erasure.cancel_unfinished_jobs(session, "t", "u")
        users.delete_user(session, "t", "u")
    with database.read() as session:
        assert tallies.of_all_tenants(session)[Counted.trial]["succeeded"] == Sum(2)
