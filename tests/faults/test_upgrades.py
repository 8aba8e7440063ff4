"""Processes that upgrade one database at once, one of them killed on the way."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlmodel import SQLModel

from app.database import Database
from tests.faults.figures import Figures
from tests.support.servers import PostgresServer

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = "import sys; from app.database import Database; print(flush=True); Database(sys.argv[1]).upgrade()"
AT_ONCE = 3


def urls(kind: str, server: PostgresServer, folder: Path, moments: random.Random) -> Iterator[str]:
    """Databases without any table, without end."""
    while True:
        name = f"upgraded_{moments.randrange(10**12)}"
        if kind == "sqlite":
            yield f"sqlite:///{folder / name}"
        else:
            server.execute(f"CREATE DATABASE {name}")
            yield server.url(name)
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_process_killed_while_it_upgrades_leaves_all_or_nothing(
    kind: str, postgres_server: PostgresServer, tmp_path: Path, figures: Figures, moments: random.Random
) -> None:
    wrong: list[str] = []
    fresh = urls(kind, postgres_server, tmp_path, moments)
    for _ in range(figures.rounds(5, 1)):
        url = next(fresh)
        command = [sys.executable, "-c", PROGRAM, url]
        running = [subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) for _ in range(AT_ONCE)]
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        time.sleep(moments.uniform(0.0, 0.4))
        killed, *others = moments.sample(running, AT_ONCE)
        killed.kill()
        wrong += [f"ended with {process.returncode}" for process in others if process.wait(120)]
        killed.wait()
        for process in running:
            assert process.stdout is not None
            process.stdout.close()
        wrong += differences(url)
    fresh.close()
    figures.none_of(wrong, f"one of {AT_ONCE} killed while upgrading {kind}: tables not as they should be", "tables")


def differences(url: str) -> list[str]:
    """What the database has otherwise than this version's tables, looked at by a process that starts now."""
    database, engine = Database(url), create_engine(url)
    database.upgrade()
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        found = [str(difference) for difference in compare_metadata(context, SQLModel.metadata)]
        versions = connection.execute(text("SELECT version_num FROM alembic_version")).all()
    engine.dispose()
    database.dispose()
    return found + [f"{len(versions)} revisions"] * (len(versions) != 1)
