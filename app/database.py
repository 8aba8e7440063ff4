"""The database at hand: one engine per process, transactions, upgrades, and what its errors mean.

SQLite (one file, WAL) and PostgreSQL behave alike behind this class. Knows no table and no HTTP.
"""

from __future__ import annotations

import select
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alembic.command
import psycopg
from alembic.config import Config
from sqlalchemy import Connection, Engine, event, make_url, text
from sqlalchemy import exc as sa
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import Session, create_engine

import migrations
from app.errors import DatabaseAwayError

BUSY_SECONDS = 30
"""How long a writer of SQLite waits for the one before it."""
CONNECT_SECONDS = 10
"""How long to wait for PostgreSQL to take a connection."""
WRITERS, READERS = 5, 10
"""Connections of a process to PostgreSQL. They are kept: opening one takes longer than most requests."""
FRESH_SECONDS = 1.0
"""A connection that was used so shortly ago, and on which nothing came since, is not asked whether it still lives: that
costs as much as a query."""
_UPGRADE_LOCK = 0x6D696C70
"""Key of the PostgreSQL advisory lock that lets one process upgrade at a time ("milp" in ASCII)."""
_BEGIN = "milp_begin"
_USED = "milp_used"
_one_upgrade = threading.Lock()

_SQLITE_AWAY = {
    sqlite3.SQLITE_BUSY: "it stays locked by another process",
    sqlite3.SQLITE_LOCKED: "it stays locked by another process",
    sqlite3.SQLITE_FULL: "its disk is full",
    sqlite3.SQLITE_CANTOPEN: "its file cannot be opened",
    sqlite3.SQLITE_READONLY: "its file is read-only",
    sqlite3.SQLITE_PERM: "its file may not be accessed",
    sqlite3.SQLITE_IOERR: "its file cannot be read or written",
    sqlite3.SQLITE_CORRUPT: "its file is damaged",
    sqlite3.SQLITE_NOTADB: "its file is no SQLite database",
}


class Database:
    """One database, named by its SQLAlchemy URL: `sqlite:////path/file` or `postgresql+psycopg://...`.

    Nothing is opened before the first transaction. Threads may share it; processes may not: each makes its own.

    Raises:
        DatabaseAwayError: no such kind of URL.
    """

    def __init__(self, url: str) -> None:
        try:
            self.url = make_url(url)
            self._engine = _make_engine(url, WRITERS)
            self._reading = self._engine
            if self.url.get_backend_name() != "sqlite":
                # Each query for itself, as PostgreSQL reads anyway: to begin and to end are two journeys more.
                self._reading = _make_engine(url, READERS, read_only=True)
                self._reading = self._reading.execution_options(isolation_level="AUTOCOMMIT")
        except (sa.ArgumentError, ImportError) as error:
            raise DatabaseAwayError(
                f"The database URL cannot be used ({error}). "
                "Give MILP_DATABASE_URL as sqlite:////path/to/file or postgresql+psycopg://user:password@host/name."
            ) from error
        self._writing = self._engine.execution_options(**{_BEGIN: "IMMEDIATE"})

    @property
    def name(self) -> str:
        """The URL without its password, for messages."""
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: committed on a clean exit, rolled back on any error. Objects stay usable afterwards.

        On SQLite it holds the write lock from its start, so what it reads cannot change before it writes.

        Raises:
            DatabaseAwayError: the database cannot be reached, stays locked, or cannot be written.
        """
        with self._translated(), Session(self._writing, expire_on_commit=False) as session, session.begin():
            session.connection()
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session to look things up in; whatever is changed in it is dropped (SQLite) or refused (PostgreSQL).

        Raises:
            DatabaseAwayError: the database cannot be reached.
        """
        with self._translated(), Session(self._reading, expire_on_commit=False) as session:
            yield session

    def upgrade(self) -> None:
        """Bring the tables to this version of the service. Several processes may call it at once; one does the work.

        Raises:
            DatabaseAwayError: the database cannot be reached, or was made by a newer version of the service.
        """
        with self._translated():
            if self.url.get_backend_name() == "sqlite":
                _make_folder(self.url.database)
                self._turn_on_wal()
            with self._writing.begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
                try:
                    # Alembic keeps what it is doing in global variables.
                    with _one_upgrade:
                        alembic.command.upgrade(migration_config(connection), "head")
                except alembic.util.CommandError as error:
                    raise DatabaseAwayError(
                        f"The database {self.name} cannot be upgraded: {error}. It was last used by a newer version "
                        "of milp-serve; install that version, or name another database."
                    ) from error

    def ping(self) -> None:
        """Answer, or raise.

        Raises:
            DatabaseAwayError: it cannot be reached, or has no tables yet.
        """
        with self.read() as session:
            try:
                session.connection().execute(text("SELECT version_num FROM alembic_version")).one()
            except (sa.ProgrammingError, sa.OperationalError, sa.NoResultFound) as error:
                if isinstance(error, sa.DBAPIError) and _away_reason(error):
                    raise
                raise DatabaseAwayError(
                    f"The database {self.name} has no tables yet. `milp up` makes them when it starts."
                ) from error

    def wipe_deleted(self) -> bool:
        """Have what was deleted overwritten; False while a reader still needs it: ask again later.

        SQLite zeroes deleted rows (secure_delete), but its write-ahead log keeps what pages held before until it is
        emptied. PostgreSQL does as much in its own time (autovacuum), so there is nothing to do.

        Raises:
            DatabaseAwayError: the database cannot be reached.
        """
        if self.url.get_backend_name() != "sqlite":
            return True
        with self._translated(), self._engine.connect() as connection:
            driver = _sqlite(connection)
            driver.execute("PRAGMA busy_timeout=500").close()
            try:
                busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.OperationalError as error:
                if (error.sqlite_errorcode & 0xFF) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise sa.OperationalError("PRAGMA wal_checkpoint", None, error) from error
                busy = True
            finally:
                driver.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}").close()
        return not busy

    def dispose(self) -> None:
        """Close every connection."""
        self._engine.dispose()
        self._reading.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sa.DBAPIError as error:
            if reason := _away_reason(error):
                raise DatabaseAwayError(
                    f"The database {self.name} cannot be used: {reason}. Nothing was changed; try again, "
                    "and check MILP_DATABASE_URL if it stays so."
                ) from error
            raise
        except sa.TimeoutError as error:
            raise DatabaseAwayError(
                f"All connections to the database {self.name} are in use. Nothing was changed; try again."
            ) from error

    def _turn_on_wal(self) -> None:
        """Write-ahead logging, kept in the file: readers and the one writer then do not wait for each other.

        SQLite does not wait for a lock here, so processes that start together would fail without the loop.
        """
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                with self._engine.connect() as connection:
                    _sqlite(connection).execute("PRAGMA journal_mode=WAL").close()
                return
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise sa.DatabaseError("PRAGMA journal_mode=WAL", None, error) from error
                time.sleep(0.02)


def _sqlite(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection: a PRAGMA may not be within a transaction."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - for the type checker
    return driver


def migration_config(connection: Connection) -> Config:
    """Alembic's configuration for the migrations of this package, run on `connection` in its transaction."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    return config


def _make_engine(url: str, connections: int, *, read_only: bool = False) -> Engine:
    # Parameters stay hidden: they are people's texts, and an error's message goes to the log.
    if make_url(url).get_backend_name() != "sqlite":
        arguments: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS}
        if read_only:
            arguments["options"] = f"{make_url(url).query.get('options', '')} -c default_transaction_read_only=on"
        engine = create_engine(
            url,
            pool_size=connections,
            max_overflow=0,
            pool_use_lifo=True,
            hide_parameters=True,
            connect_args=arguments,
        )
        event.listen(engine, "checkin", _note_use)
        event.listen(engine, "checkout", _ask_whether_it_lives)
        return engine
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _note_use(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info[_USED] = time.monotonic()


def _ask_whether_it_lives(connection: psycopg.Connection, record: ConnectionPoolEntry, _fairy: Any) -> None:
    """Raises: DisconnectionError, for which the pool opens another."""
    used = record.info.get(_USED)
    if used is None:
        return  # it was opened just now
    said = select.poll()
    said.register(connection.fileno(), select.POLLIN)
    # What the server says unasked is that it closes.
    if time.monotonic() - used < FRESH_SECONDS and not said.poll(0):
        return
    try:
        connection.execute("")
        connection.rollback()
    except psycopg.Error as error:
        raise sa.DisconnectionError from error


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # The driver's own idea of when to begin would let two writers read the same state; `_begin_sqlite` begins.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys=ON").close()
    # What is deleted is overwritten with zeros: people's texts must not be found in the file afterwards.
    connection.execute("PRAGMA secure_delete=ON").close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get(_BEGIN, 'DEFERRED')}")


def _make_folder(database: str | None) -> None:
    try:
        # A new folder is this account's alone: histories will be in it.
        Path(database or "").parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseAwayError(
            f"The folder of the database {database} cannot be made ({error.strerror}). "
            "Name another with MILP_DATA_DIR or MILP_DATABASE_URL."
        ) from error


def _away_reason(error: sa.DBAPIError) -> str | None:
    """Why the database is away, or None where the error is of another kind (a constraint, a mistake in SQL)."""
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        # The low byte is the error's kind; the rest says which of its cases. A wrong SQL text has kind 1.
        return _SQLITE_AWAY.get((getattr(cause, "sqlite_errorcode", None) or 0) & 0xFF)
    if error.connection_invalidated or isinstance(error, sa.OperationalError | sa.InterfaceError):
        return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    return None
