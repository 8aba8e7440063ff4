"""A backup of a service on one machine, taken while it runs or not, and a data folder made of one.

First a snapshot of the database, then the versions that it names: a version is put into the store before its row is
written, so a snapshot names nothing that is not there, but what is deleted meanwhile. Then the snapshot is taken anew.
A restore goes the other way: the database comes last. What is copied is verified against its digests both times.

No key is in a backup (of keys, the database has digests), and nothing of Redis: its messages are only doorbells, and
workers are rung again by the database. Must not know the command line.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from adapters_store.errors import AdapterCorruptError, AdapterNotFoundError, StoreError
from adapters_store.store import AdapterStore
from app.database import BUSY_SECONDS, Database
from app.embedded.data_folder import DataFolderLock
from app.embedded.errors import BackupError
from app.errors import ServiceError
from app.repositories import versions
from app.settings import Settings
from app.tables import now

FORMAT = 1
DATABASE = "milp.sqlite3"
STORE = "store"
SEAL = "backup.json"
"""Written last: a folder without it is no backup."""
_SNAPSHOTS = 5
"""How often a snapshot is taken anew because somebody was deleted meanwhile."""
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup says of itself.

    Args:
        digest: SHA-256 of the database's file, hex.
        versions: how many are in it.
        left_out: folders of versions that the store had lost or damaged already.
    """

    format: int
    made_at: str
    software: str
    digest: str
    versions: int
    left_out: list[str]


class _GoneMeanwhileError(Exception):
    """The snapshot names a version that has been deleted since."""


def back_up(settings: Settings, folder: Path) -> Backup:
    """Write a backup of the service of these settings to a new folder.

    Raises:
        BackupError: there is no such service, the folder is in use, or one of them cannot be read or written.
    """
    source = _database_file(settings)
    if not source.is_file():
        raise BackupError(f"There is no database at {source}. Name the service's folder with --data-dir.")
    with _explained(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise BackupError(f"The folder {folder} is not empty. Name a new one for each backup.")
        with _opened(settings.resolved_database_url) as database:
            for _ in range(_SNAPSHOTS):
                _snapshot(source, folder / DATABASE)
                try:
                    copied, left_out = _copy_versions(settings, database, folder)
                except _GoneMeanwhileError:
                    shutil.rmtree(folder / STORE, ignore_errors=True)
                    (folder / DATABASE).unlink()
                    continue
                return _sealed(folder, copied, left_out)
    raise BackupError("Users are being deleted faster than a backup can be taken. Take it again in a while.")


def restore(settings: Settings, folder: Path) -> Backup:
    """Make a data folder, which must be new or empty, of a backup. `milp up` starts with it.

    Raises:
        BackupError: it is no whole backup, it was changed, or the data folder is in use or cannot be written.
    """
    target = _database_file(settings)
    with _explained(folder):
        backup = _read_seal(folder)
        if _digest(folder / DATABASE) != backup.digest:
            raise BackupError(f"{folder / DATABASE} is not what was backed up: it was changed or damaged.")
        if target.exists() or (settings.data_dir.exists() and any(settings.data_dir.iterdir())):
            raise BackupError(
                f"The data folder {settings.data_dir} is not empty. Name a new one: --data-dir, MILP_DATA_DIR."
            )
    lock = DataFolderLock(settings.data_dir)
    aside = target.with_name(f"{target.name}.new")
    try:
        with _explained(settings.data_dir):
            _restore_versions(settings, folder, set(backup.left_out))
            shutil.copyfile(folder / DATABASE, aside)
            aside.chmod(0o600)
            _flush(aside)
            aside.replace(target)
            _flush(target.parent)
    except BaseException:
        # Half of it is of no use, and in the way of the next try.
        shutil.rmtree(settings.data_dir, ignore_errors=True)
        raise
    finally:
        lock.release()
    return backup


def _database_file(settings: Settings) -> Path:
    """Raises: BackupError, it is no file."""
    with _opened(settings.resolved_database_url) as database:
        if database.url.get_backend_name() != "sqlite" or not database.url.database:
            raise BackupError(
                f"The database of these settings is {database.name}: this command is for a service on one machine. "
                "docs/operations.md says how to back up PostgreSQL and a bucket."
            )
        return Path(database.url.database)


def _snapshot(source: Path, target: Path) -> None:
    """A copy of the database at one moment, by SQLite itself: readers and writers go on meanwhile."""
    target.touch(mode=0o600)
    with closing(sqlite3.connect(source, timeout=BUSY_SECONDS)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
        # One file that stands alone, without a log beside it.
        copy.execute("PRAGMA journal_mode=DELETE").close()
        (found,) = copy.execute("PRAGMA integrity_check").fetchone()
    if found != "ok":
        raise BackupError(f"The database {source} is damaged: {found}. Restore the last backup that is whole.")
    _flush(target)


def _copy_versions(settings: Settings, live: Database, folder: Path) -> tuple[int, list[str]]:
    """Put all versions that the snapshot names beside it; how many, and the folders of those that are lost or damaged.

    Raises:
        _GoneMeanwhileError: one was deleted since the snapshot.
    """
    store = AdapterStore.open(settings.resolved_store_url)
    kept = AdapterStore.open(str(folder / STORE))
    copied, left_out = 0, []
    for path in _paths(folder / DATABASE):
        try:
            store.copy(path, kept)
            copied += 1
        except (AdapterNotFoundError, AdapterCorruptError):
            # A deletion takes the files before it commits: in a transaction that writes, it has ended either way.
            with live.write() as session:
                if path not in versions.all_paths(session):
                    raise _GoneMeanwhileError from None
            left_out.append(path)
    return copied, left_out


def _restore_versions(settings: Settings, folder: Path, left_out: set[str]) -> None:
    kept = AdapterStore.open(str(folder / STORE))
    store = AdapterStore.open(settings.resolved_store_url)
    for path in _paths(folder / DATABASE):
        if path not in left_out:
            kept.copy(path, store)


def _paths(database: Path) -> Sequence[str]:
    with _opened(f"sqlite:///{database.absolute()}") as opened, opened.read() as session:
        return versions.all_paths(session)


def _sealed(folder: Path, copied: int, left_out: list[str]) -> Backup:
    digest = _digest(folder / DATABASE)
    backup = Backup(FORMAT, now().isoformat(), version("milp-serve"), digest, copied, left_out)
    aside = folder / f"{SEAL}.new"
    aside.write_text(json.dumps(asdict(backup), indent=2) + "\n", encoding="utf-8")
    _flush(aside)
    aside.replace(folder / SEAL)
    _flush(folder)
    return backup


def _read_seal(folder: Path) -> Backup:
    try:
        backup = Backup(**json.loads((folder / SEAL).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise BackupError(f"{folder} is no backup, or one that was broken off: it has no {SEAL}.") from None
    except (ValueError, TypeError):
        raise BackupError(f"{folder / SEAL} was changed or damaged. Restore another backup.") from None
    if backup.format != FORMAT:
        raise BackupError(
            f"The backup {folder} was made by milp-serve {backup.software}. Restore it with that version."
        )
    return backup


def _digest(file: Path) -> str:
    found = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _opened(url: str) -> Iterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        database.dispose()


@contextmanager
def _explained(where: Path) -> Iterator[None]:
    """What the disk, the database or the store refuses, as one line."""
    try:
        yield
    except OSError as error:
        raise BackupError(f"{where} cannot be read or written ({error.strerror or error}).") from error
    except sqlite3.Error as error:
        raise BackupError(f"The database cannot be read or written ({error}).") from error
    except StoreError as error:
        raise BackupError(f"Of the versions, one cannot be copied: {error}") from error
    except ServiceError as error:
        raise BackupError(error.detail) from error
