"""Backups: of one moment, whole or refused, and nothing is ever restored over what is there."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from adapters_store.store import AdapterStore
from app.database import Database
from app.embedded import backup
from app.embedded.backup import back_up, restore
from app.embedded.data_folder import DataFolderLock
from app.embedded.errors import BackupError
from app.repositories import history, users, versions
from app.repositories.answering import known
from app.settings import Settings
from app.tables import Version
from engine.base import load_base
from tests.adapters_store.stacks import BASE_DIGEST, SmallBase, provenance, random_stack
from tests.app.cli.service import milp, one_line
from tests.support.api import publish, served, wait_until_ready
from tests.support.families import save_tiny_model
from tests.support.records import add_user, samples


@pytest.fixture
def kept(settings: Settings) -> Settings:
    """A service that is not running, with two users who have a history and a version each."""
    settings.data_dir.mkdir()
    database = Database(settings.resolved_database_url)
    database.upgrade()
    store = AdapterStore.open(settings.resolved_store_url)
    for number, user in enumerate(("ann", "ben")):
        published = store.publish("t", user, random_stack(seed=number), provenance())
        row = {"layers": "10", "n": 2, "r": 8, "base_digest": BASE_DIGEST, "passed_gate": True}
        with database.write() as session:
            add_user(session, "t", user, samples(3))
            version = Version(id=published.id, tenant_id="t", user_id=user, path=published.path, **row)
            versions.activate(session, users.get_user(session, "t", user), versions.add_version(session, version).id)
    database.dispose()
    return settings


@pytest.fixture
def new(settings: Settings, tmp_path: Path) -> Settings:
    """Settings of a machine on which nothing is yet."""
    return settings.model_copy(update={"data_dir": tmp_path / "another machine"})


def paths_in(settings: Settings) -> list[str]:
    database = Database(settings.resolved_database_url)
    with database.read() as session:
        found = versions.all_paths(session)
    database.dispose()
    return found


def delete(settings: Settings, user: str) -> None:
    """As the service deletes a user: the files first, then the commit."""
    database = Database(settings.resolved_database_url)
    with database.write() as session:
        users.delete_user(session, "t", user)
        AdapterStore.open(settings.resolved_store_url).erase_user("t", user)
    database.dispose()


def test_what_is_restored_is_what_was_backed_up(kept: Settings, new: Settings, tmp_path: Path) -> None:
    made = back_up(kept, tmp_path / "backup")
    assert (made.versions, made.left_out) == (2, [])
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o700
    restore(new, tmp_path / "backup")
    database = Database(new.resolved_database_url)
    database.upgrade()
    with database.read() as session:
        assert history.count_samples(session, "t", "ann") == 3
        active = known(session, "t", "ben").active
    database.dispose()
    assert active is not None
    of_each = [AdapterStore.open(s.resolved_store_url).load(active.path, SmallBase()) for s in (kept, new)]
    assert all(bool((of_each[0].a[name] == a).all()) for name, a in of_each[1].a.items())


def test_a_backup_is_taken_while_others_write(kept: Settings, tmp_path: Path) -> None:
    database = Database(kept.resolved_database_url)
    with database.write() as session:
        users.ensure_user(session, "t", "not-yet-committed", None)
        back_up(kept, tmp_path / "backup")
    database.dispose()
    with sqlite3.connect(tmp_path / "backup" / backup.DATABASE) as copy:
        assert [row[0] for row in copy.execute("SELECT user_id FROM users ORDER BY user_id")] == ["ann", "ben"]
    copy.close()


def test_of_a_user_deleted_while_it_is_taken_nothing_is_in_it(
    kept: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = backup._snapshot
    taken: list[Path] = []

    def and_then_delete_one(source: Path, target: Path) -> None:
        whole(source, target)
        if not taken:
            delete(kept, "ben")
        taken.append(target)

    monkeypatch.setattr(backup, "_snapshot", and_then_delete_one)
    made = back_up(kept, tmp_path / "backup")
    assert (made.versions, made.left_out, len(taken)) == (1, [], 2)
    stored = {str(p.relative_to(tmp_path / "backup" / "store")) for p in (tmp_path / "backup").rglob("stack.json")}
    assert stored == {f"{path}/stack.json" for path in paths_in(kept)}
    with sqlite3.connect(tmp_path / "backup" / backup.DATABASE) as copy:
        assert copy.execute("SELECT count(*) FROM samples WHERE user_id = 'ben'").fetchone() == (0,)
    copy.close()


def test_a_version_that_was_damaged_before_is_left_out_and_named(kept: Settings, new: Settings, tmp_path: Path) -> None:
    damaged, whole = paths_in(kept)
    (kept.data_dir / "store" / damaged / "adapter_model.safetensors").write_bytes(b"not what was published")
    ran = milp("backup", "b", "--data-dir", str(kept.data_dir), folder=tmp_path)
    assert damaged in one_line(ran)
    assert whole not in one_line(ran)
    assert restore(new, tmp_path / "b").versions == 1


@pytest.mark.parametrize("what", ["database", "weights", "seal", "no seal"])
def test_a_backup_that_was_changed_is_refused_and_leaves_no_data_folder(
    kept: Settings, new: Settings, tmp_path: Path, what: str
) -> None:
    folder = tmp_path / "backup"
    back_up(kept, folder)
    if what == "no seal":
        (folder / backup.SEAL).unlink()
    else:
        changed = {
            "database": folder / backup.DATABASE,
            "seal": folder / backup.SEAL,
            "weights": folder / "store" / paths_in(kept)[1] / "adapter_model.safetensors",
        }[what]
        content = bytearray(changed.read_bytes())
        content[len(content) // 2] ^= 1
        changed.write_bytes(content[:-1] if what == "seal" else content)
    with pytest.raises(BackupError):
        restore(new, folder)
    assert not new.data_dir.exists()


def test_nothing_is_restored_over_what_is_there(kept: Settings, tmp_path: Path) -> None:
    back_up(kept, tmp_path / "backup")
    before = {path: path.read_bytes() for path in kept.data_dir.rglob("*") if path.is_file()}
    with pytest.raises(BackupError, match="is not empty"):
        restore(kept, tmp_path / "backup")
    assert {path: path.read_bytes() for path in kept.data_dir.rglob("*") if path.is_file()} == before
    with pytest.raises(BackupError, match="is not empty"):
        back_up(kept, tmp_path / "backup")


def test_a_data_folder_that_a_service_is_starting_in_is_not_restored_into(
    kept: Settings, new: Settings, tmp_path: Path
) -> None:
    back_up(kept, tmp_path / "backup")
    lock = DataFolderLock(new.data_dir)
    with pytest.raises(BackupError, match="is not empty"):
        restore(new, tmp_path / "backup")
    lock.release()


def test_a_service_on_postgresql_is_told_where_to_read(settings: Settings, tmp_path: Path) -> None:
    there = settings.model_copy(update={"database_url": "postgresql+psycopg://milp@nowhere/milp"})
    for command in (back_up, restore):
        with pytest.raises(BackupError, match=r"docs/operations\.md"):
            command(there, tmp_path / "backup")


def test_where_there_is_no_service_nothing_is_made(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="no database"):
        back_up(settings, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_the_seal_says_what_is_in_a_backup(kept: Settings, tmp_path: Path) -> None:
    back_up(kept, tmp_path / "backup")
    seal = json.loads((tmp_path / "backup" / backup.SEAL).read_text())
    assert (seal["format"], seal["versions"], seal["left_out"]) == (1, 2, [])


def test_a_restored_service_answers_as_the_one_before(settings: Settings, new: Settings, tmp_path: Path) -> None:
    """With the version that a user has, taken while the service runs; tests of a trained one are slow."""
    model = str(save_tiny_model("llama", tmp_path / "base"))
    live = settings.model_copy(
        update={"base_model": model, "dtype": "float32", "torch_threads": 1, "max_new_tokens": 8}
    )
    asked = {"query": "How are you?"}
    with served(live) as service:
        wait_until_ready(service.http)
        publish(service, load_base(model, device="cpu", dtype="float32", threads=1), "ann")
        back_up(live, tmp_path / "backup")
        shown = service.http.post("/v1/users/ann/responses", json=asked).json()
        plain = service.http.post("/v1/users/ann/responses", json=asked | {"mode": "base"}).json()
    restore(new, tmp_path / "backup")
    with served(live.model_copy(update={"data_dir": new.data_dir})) as service:
        wait_until_ready(service.http)
        assert service.http.post("/v1/users/ann/responses", json=asked).json() == shown
    assert shown["mode"] == "personalized"
    assert shown["response"] != plain["response"]
