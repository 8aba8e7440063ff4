"""The documented backup of PostgreSQL and a store: its own commands, and a service that goes on with what they kept."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from adapters_store.store import AdapterStore
from app.database import Database
from app.repositories import history, users, versions
from app.repositories.answering import known
from app.tables import Version
from tests.adapters_store.stacks import BASE_DIGEST, SmallBase, provenance, random_stack
from tests.support.records import add_job, add_user, samples
from tests.support.servers import PostgresServer

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"


def commands(mark: str) -> str:
    """The block of the document under this mark."""
    found = re.search(rf"<!-- {mark}: [^>]*-->\n```\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found.group(1)


def run(mark: str, server: PostgresServer, url: str, **folders: Path) -> None:
    # libpq knows no drivers.
    given = {
        "DATABASE": url.replace("postgresql+psycopg://", "postgresql://"),
        **{k: str(v) for k, v in folders.items()},
    }
    path = f"{server.binaries}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands(mark)],
        env={**os.environ, **given, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr


def test_what_the_documented_commands_keep_is_all_there_after_the_documented_restore(
    postgres_server: PostgresServer, postgres_url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = AdapterStore.open(str(tmp_path / "store"))
    published = store.publish("t", "ann", random_stack(), provenance())
    live = Database(postgres_url)
    with live.write() as session:
        add_user(session, "t", "ann", samples(5))
        add_job(session, "t", "ann")
        row = {"layers": "10", "n": 2, "r": 8, "base_digest": BASE_DIGEST, "passed_gate": True}
        version = Version(id=published.id, tenant_id="t", user_id="ann", path=published.path, **row)
        versions.activate(session, users.get_user(session, "t", "ann"), versions.add_version(session, version).id)
    live.dispose()
    (tmp_path / "backup").mkdir()
    run("postgres backup", postgres_server, postgres_url, STORE=tmp_path / "store", BACKUP=tmp_path / "backup")

    postgres_server.execute("CREATE DATABASE restored TEMPLATE template0")
    request.addfinalizer(lambda: postgres_server.execute("DROP DATABASE restored WITH (FORCE)"))
    url, new_store = postgres_server.url("restored"), tmp_path / "new store"
    run("postgres restore", postgres_server, url, STORE=new_store, BACKUP=tmp_path / "backup")

    restored = Database(url)
    restored.upgrade()
    with restored.read() as session:
        active = known(session, "t", "ann").active
        assert history.count_samples(session, "t", "ann") == 5
    assert active is not None
    loaded = AdapterStore.open(str(new_store)).load(active.path, SmallBase())
    assert loaded.configuration == random_stack().configuration
    # What has a number of its own goes on after the last one.
    with restored.write() as session:
        add_job(session, "t", "ann")
        assert history.add_samples(session, "t", "ann", samples(2, first=5), 100).added == 2
    restored.dispose()
