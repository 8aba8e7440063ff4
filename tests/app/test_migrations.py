"""Migrations: up, down and up again, on SQLite and PostgreSQL; what they make is what the tables say."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import alembic.command
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, MetaData, create_engine, inspect, text
from sqlmodel import SQLModel, select

import app.erasure_tables
import app.tables
from app.database import Database, migration_config
from app.errors import DatabaseAwayError
from app.repositories import history, jobs
from app.tables import Event, Job, SampleRow, Step, Trial, User, Version
from tests.support.records import add_job, add_trials, add_user, samples, version

REPOSITORY = Path(__file__).resolve().parents[2]


def tables_of(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


def reflected(engine: Engine) -> MetaData:
    found = MetaData()
    found.reflect(engine)
    return found


def columns_of(tables: MetaData) -> set[str]:
    return {str(column) for table in tables.sorted_tables for column in table.columns}


def downgrade(engine: Engine) -> None:
    with engine.begin() as connection:
        alembic.command.downgrade(migration_config(connection), "base")


def parts_of(sql: str) -> list[str]:
    """Columns and constraints of a table's text. They may stand in any order: an added column stands last."""
    parts = re.split(r"\n|, (?=\w+ [A-Z])", sql.strip().removesuffix(")"))
    return sorted(part.strip(" \t,") for part in parts if part.strip(" \t,"))


def test_the_migrated_schema_is_that_of_the_tables(empty_database_url: str) -> None:
    database, engine = Database(empty_database_url), create_engine(empty_database_url)
    database.upgrade()
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, SQLModel.metadata) == []
    database.dispose()
    engine.dispose()


def test_sqlite_keeps_the_very_text_that_the_tables_would_make(tmp_path: Path) -> None:
    """Alembic does not compare AUTOINCREMENT."""
    database = Database(f"sqlite:///{tmp_path / 'migrated.sqlite3'}")
    database.upgrade()
    database.dispose()
    made = create_engine(f"sqlite:///{tmp_path / 'made.sqlite3'}")
    SQLModel.metadata.create_all(made)
    migrated = create_engine(f"sqlite:///{tmp_path / 'migrated.sqlite3'}")
    texts = []
    for engine in (migrated, made):
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE name <> 'alembic_version'"))
            texts.append({name: parts_of(sql) for name, sql in rows if sql})
        engine.dispose()
    assert texts[0] == texts[1]


def test_up_down_and_up_again(empty_database_url: str) -> None:
    database, engine = Database(empty_database_url), create_engine(empty_database_url)
    names = {table.name for table in SQLModel.metadata.sorted_tables}
    for _ in range(2):
        database.upgrade()
        assert tables_of(engine) == names | {"alembic_version"}
        database.ping()
        with database.write() as session:
            add_user(session, pairs=samples(3))
            add_job(session)
        with database.read() as session:
            assert history.count_samples(session, "t", "u") == 3
        database.dispose()
        downgrade(engine)
        assert tables_of(engine) == {"alembic_version"}
    database.dispose()
    engine.dispose()


def test_jobs_of_before_pauses_were_timed_keep_their_steps_up_and_down(empty_database_url: str) -> None:
    database, engine = Database(empty_database_url), create_engine(empty_database_url)
    database.upgrade()
    with database.write() as session:
        running, paused = add_job(session), add_job(session)
        jobs.pause_job(session, paused)
        since = paused.paused_at
    with engine.begin() as connection:
        alembic.command.downgrade(migration_config(connection), "0001")
        assert "paused_seconds" not in {column["name"] for column in inspect(connection).get_columns("jobs")}
    database.upgrade()
    with database.read() as session:
        for job in (running, paused):
            kept = jobs.get_job(session, "t", job.id)
            assert (kept.status, kept.paused_seconds) == (job.status, 0.0)
            assert len(session.exec(select(Step).where(Step.job_id == job.id)).all()) == 1
        again = jobs.get_job(session, "t", paused.id).paused_at
        assert since is not None
        assert again is not None
        # The event that told of the pause was written right after it.
        assert timedelta(0) <= again - since < timedelta(minutes=1)
    database.dispose()
    engine.dispose()


def test_upgrading_what_is_up_to_date_changes_nothing(database: Database) -> None:
    with database.write() as session:
        add_user(session, pairs=samples(3))
    database.upgrade()
    with database.read() as session:
        assert history.count_samples(session, "t", "u") == 3


def test_a_failed_upgrade_leaves_nothing_half_made(empty_database_url: str) -> None:
    database, engine = Database(empty_database_url), create_engine(empty_database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE trials (in_the_way INTEGER)"))
    with pytest.raises(Exception, match="already exists"):
        database.upgrade()
    assert tables_of(engine) == {"trials"}
    database.dispose()
    engine.dispose()


def test_a_database_of_a_newer_service_is_refused_with_a_reason(database: Database) -> None:
    with database.write() as session:
        session.connection().execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseAwayError, match="newer version of milp-serve"):
        database.upgrade()


def test_several_processes_may_upgrade_at_once(empty_database_url: str) -> None:
    program = "import sys; from app.database import Database; sys.stdin.read(); Database(sys.argv[1]).upgrade()"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, empty_database_url],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    # Each waits for the end of its input, so all begin together once they have loaded.
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    database = Database(empty_database_url)
    database.ping()
    with database.write() as session:
        add_user(session)
    database.dispose()


def test_processes_of_the_version_before_write_and_read_beside_those_of_this_one(empty_database_url: str) -> None:
    """While a service is upgraded, both run. The older knows the columns of its own version only: here, of the latest
    version that had other columns.
    """
    database, engine = Database(empty_database_url), create_engine(empty_database_url)
    database.upgrade()
    older = present = reflected(engine)
    while columns_of(older) == columns_of(present):
        with engine.begin() as connection:
            alembic.command.downgrade(migration_config(connection), "-1")
        older = reflected(engine)
    database.upgrade()
    with database.write() as session:
        add_user(session, pairs=samples(3))
        add_trials(session, add_job(session), 2)
        session.add(version())
    older.remove(older.tables["alembic_version"])
    with engine.begin() as connection:
        rows = {table: connection.execute(table.select()).mappings().all() for table in older.sorted_tables}
        for table in reversed(older.sorted_tables):
            connection.execute(table.delete())
        for table, of_table in rows.items():
            if of_table:
                connection.execute(table.insert(), [dict(row) for row in of_table])
    assert {len(of_table) for table, of_table in rows.items() if table.name in ("samples", "trials")} == {2, 3}
    with database.read() as session:
        for model in (User, SampleRow, Job, Step, Trial, Version, Event):
            (kept,) = (rows[table] for table in rows if table.name == model.__tablename__)
            assert len(session.exec(select(model)).all()) == len(kept) > 0
    database.dispose()
    engine.dispose()


def test_sqlite_is_in_write_ahead_mode_after_an_upgrade(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new folder' / 'milp.sqlite3'}")
    database.upgrade()
    with database.read() as session:
        assert session.connection().execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert session.connection().execute(text("PRAGMA foreign_keys")).scalar_one() == 1
    database.dispose()


OF_THE_SERVICE = {"processes", "signing_keys", "erasure_holders"}
"""What is of no tenant; a holder is part of an erasure, which is of one."""


def test_every_table_has_a_tenant_on_every_row() -> None:
    assert app.tables.User.__tablename__ in SQLModel.metadata.tables
    for table in SQLModel.metadata.sorted_tables:
        assert table.name in OF_THE_SERVICE or not table.c.tenant_id.nullable, table.name
