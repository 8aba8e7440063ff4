"""The database: transactions, several writers at once, and being away."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, InternalError, ProgrammingError
from sqlalchemy.exc import OperationalError as SqlError
from sqlmodel import select

import app.database
from app.database import Database
from app.errors import DatabaseAwayError
from app.repositories import history, users
from app.tables import Job, Step, User
from tests.support.records import add_job, add_user, samples
from tests.support.servers import PostgresServer


def run_at_once(*work: Callable[[], None]) -> None:
    """Run all in threads that start together; the first error of any is raised."""
    gate, errors = threading.Barrier(len(work)), []

    def run(one: Callable[[], None]) -> None:
        gate.wait()
        try:
            one()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[one]) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_a_clean_transaction_is_kept_and_its_objects_stay_usable(database: Database) -> None:
    with database.write() as session:
        user = users.ensure_user(session, "t", "u", "likes tea")
    assert user.profile == "likes tea"
    with database.read() as session:
        assert users.get_user(session, "t", "u").profile == "likes tea"


def test_an_error_takes_the_whole_transaction_back(database: Database) -> None:
    def work() -> None:
        with database.write() as session:
            add_user(session, pairs=samples(3))
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        work()
    with database.read() as session:
        assert history.count_samples(session, "t", "u") == 0
        assert session.exec(select(User)).all() == []


def test_what_is_changed_while_reading_is_dropped_or_refused(database: Database) -> None:
    on_postgresql = database.url.get_backend_name() == "postgresql"
    refused = pytest.raises(InternalError, match="read-only") if on_postgresql else nullcontext()
    with refused, database.read() as session:
        session.add(User(tenant_id="t", user_id="u"))
        session.flush()
    with database.read() as session:
        assert session.exec(select(User)).all() == []


def test_a_broken_constraint_is_no_database_away(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as session:
        session.add(Step(tenant_id="t", job_id="no such job", kind="plan"))


def test_wrong_sql_is_no_database_away(database: Database) -> None:
    with pytest.raises((SqlError, ProgrammingError)), database.read() as session:
        session.connection().execute(text("SELECT nothing FROM nowhere"))


def test_states_are_kept_as_plain_text(database: Database) -> None:
    with database.write() as session:
        job = add_job(session)
    with database.read() as session:
        kept = session.connection().execute(text("SELECT status, split FROM jobs")).one()
        step = session.connection().execute(text("SELECT kind, state FROM steps")).one()
        assert session.get(Job, job.id) == job
    assert tuple(kept) == ("queued", None)
    assert tuple(step) == ("plan", "ready")


def test_times_come_back_aware_in_utc(database: Database) -> None:
    with database.write() as session:
        made = users.ensure_user(session, "t", "u", None).created_at
    with database.read() as session:
        kept = users.get_user(session, "t", "u").created_at
    assert kept == made
    assert str(kept.tzinfo) == "UTC"


def test_writers_at_once_lose_nothing(database_url: str) -> None:
    """Each writer is a database object of its own, as each process is; all read, think and write for one user."""
    opened = [Database(database_url) for _ in range(4)]
    with opened[0].write() as session:
        add_user(session)

    def writer(number: int) -> Callable[[], None]:
        def work() -> None:
            for i in range(10):
                with opened[number].write() as session:
                    user = users.ensure_user(session, "t", "u", None)
                    user.profile += "x"
                    # One sample of its own, one that every writer sends.
                    mine = samples(1, first=1000 * (number + 1) + i)
                    history.add_samples(session, "t", "u", mine + samples(1, first=i), limit=1000)

        return work

    run_at_once(*(writer(number) for number in range(4)))
    with opened[0].read() as session:
        assert history.count_samples(session, "t", "u") == 4 * 10 + 10
        assert users.get_user(session, "t", "u").profile == "x" * 40
    for one in opened:
        one.dispose()


def test_a_reader_does_not_wait_for_a_writer(database: Database) -> None:
    with database.write() as writing:
        add_user(writing)
        writing.flush()
        with database.read() as session:
            assert session.exec(select(User)).all() == []


# --- away ---


def test_sqlite_in_a_folder_that_cannot_be_made_is_away(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    database = Database(f"sqlite:///{tmp_path / 'file' / 'milp.sqlite3'}")
    with pytest.raises(DatabaseAwayError, match="MILP_DATA_DIR"):
        database.upgrade()
    with pytest.raises(DatabaseAwayError, match="cannot be opened"):
        database.ping()
    database.dispose()


def test_a_file_that_is_no_database_is_away(tmp_path: Path) -> None:
    path = tmp_path / "milp.sqlite3"
    path.write_text("no database at all, but long enough to be looked at " * 10)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(DatabaseAwayError, match="no SQLite database"):
        database.upgrade()
    database.dispose()
    assert path.read_text().startswith("no database at all")


def test_a_locked_sqlite_is_away_and_names_the_reason(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.database, "BUSY_SECONDS", 0.05)
    holder, waiter = Database(sqlite_url), Database(sqlite_url)
    with holder.write(), pytest.raises(DatabaseAwayError, match="locked by another process"), waiter.write():
        pytest.fail("two writers at once")
    with waiter.write() as session:
        add_user(session)
    holder.dispose()
    waiter.dispose()


def test_a_full_disk_is_away_and_changes_nothing(sqlite_url: str) -> None:
    database = Database(sqlite_url)

    def work() -> None:
        with database.write() as session:
            pages = session.connection().execute(text("PRAGMA page_count")).scalar_one()
            session.connection().execute(text(f"PRAGMA max_page_count={pages}"))
            add_user(session, pairs=samples(2000))

    with pytest.raises(DatabaseAwayError, match="disk is full"):
        work()
    database.dispose()
    with database.read() as session:
        assert session.exec(select(User)).all() == []
    database.dispose()


def test_a_read_only_sqlite_is_away(sqlite_url: str) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=DELETE").close()
    connection.close()
    database = Database(f"sqlite:///file:{path}?mode=ro&uri=true")
    with pytest.raises(DatabaseAwayError, match="read-only"), database.write() as session:
        add_user(session)
    database.dispose()


def test_postgresql_that_is_not_there_is_away_and_the_password_stays_hidden(tmp_path: Path) -> None:
    database = Database(f"postgresql+psycopg://someone:secret-word@/milp?host={tmp_path}")
    for use in (database.ping, database.upgrade):
        with pytest.raises(DatabaseAwayError) as caught:
            use()
        assert "secret-word" not in caught.value.detail
        assert "MILP_DATABASE_URL" in caught.value.detail
    database.dispose()


def test_a_connection_cut_in_a_transaction_is_away_and_the_next_one_works(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    database = Database(postgres_url)

    def work() -> None:
        with database.write() as session:
            add_user(session)
            pid = session.connection().execute(text("SELECT pg_backend_pid()")).scalar_one()
            postgres_server.execute(f"SELECT pg_terminate_backend({pid}, 10000)")
            add_user(session, user_id="another")

    with pytest.raises(DatabaseAwayError, match="Nothing was changed"):
        work()
    with database.write() as session:
        assert session.exec(select(User)).all() == []
        add_user(session)
    # Cut while it waits in the pool: nobody notices, however shortly ago it was used.
    database.ping()
    postgres_server.execute(
        f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{database.url.database}'"
    )
    database.ping()
    with database.write() as session:
        add_user(session, user_id="a third")
    database.dispose()


@pytest.mark.parametrize("url", ["nonsense", "nosuch://host/name", "postgresql+nosuch://host/name", ""])
def test_a_url_that_names_no_database_says_what_one_looks_like(url: str) -> None:
    with pytest.raises(DatabaseAwayError, match="sqlite:////path/to/file"):
        Database(url)


def test_a_database_without_tables_says_so(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    with pytest.raises(DatabaseAwayError, match="no tables yet"):
        database.ping()
    database.dispose()
