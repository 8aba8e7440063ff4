"""What is stored, damaged at random; and disks that are full or may not be written to."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from adapters_store import peft_format
from adapters_store.errors import StoreError
from adapters_store.store import AdapterStore
from app.database import Database
from app.errors import DatabaseAwayError
from app.settings import Settings
from benchmarks.bounds import at_least
from engine.base import Base, load_base
from engine.configuration import Configuration
from tests.adapters_store.stacks import SmallBase, provenance, random_stack, same
from tests.adapters_store.test_folders import everything_in, largest_file, not_root
from tests.faults.figures import Figures
from tests.support.api import Service, pairs, publish, served, wait_until_ready
from tests.support.families import save_tiny_model
from tests.support.records import add_user, samples


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return load_base(str(save_tiny_model("llama", tmp_path / "base")), device="cpu", dtype="float32", threads=1)


@pytest.fixture
def service(settings: Settings, sqlite_url: str, base: Base) -> Iterator[Service]:
    mine = {"database_url": sqlite_url, "base_model": base.name, "dtype": "float32", "torch_threads": 1}
    with served(settings.model_copy(update=mine)) as running:
        wait_until_ready(running.http)
        yield running


def cut_short(data: bytes, moments: random.Random) -> bytes:
    return data[: moments.randrange(len(data))]


def flipped(data: bytes, moments: random.Random) -> bytes:
    place = moments.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << moments.randrange(8)]) + data[place + 1 :]


def replaced(data: bytes, moments: random.Random) -> bytes:
    return moments.randbytes(len(data))


def test_a_damaged_adapter_is_never_used_and_its_user_is_answered_all_the_same(
    service: Service, base: Base, figures: Figures, moments: random.Random
) -> None:
    damages: list[Callable[[bytes, random.Random], bytes]] = [cut_short, flipped, replaced]
    service.http.post("/v1/users/ann/history", json={"samples": pairs(3), "personalize": False}).raise_for_status()
    wrong: list[str] = []
    for number in range(figures.rounds(60, 10)):
        version = publish(service, base, "ann", seed=number)
        folder = Path(service.settings.data_dir.resolve() / "store" / version.path)
        damaged, damage = moments.choice(sorted(folder.iterdir())), moments.choice(damages)
        whole = damaged.read_bytes()
        damaged.write_bytes(damage(whole, moments))
        what = f"{damaged.name} {damage.__name__}"
        asked = service.http.post("/v1/users/ann/responses", json={"query": "how are you?"})
        told = asked.json()
        if asked.status_code != 200 or told["mode"] != "memory" or told["warning"]["code"] != "adapter_unusable":
            wrong.append(f"{what}: auto answered {asked.text}")
        demanded = service.http.post("/v1/users/ann/responses", json={"query": "how?", "mode": "personalized"})
        if demanded.json().get("code") != "adapter_unusable":
            wrong.append(f"{what}: personalized answered {demanded.text}")
        if service.http.get(f"/v1/users/ann/versions/{version.id}/export").status_code == 200:
            wrong.append(f"{what}: was exported")
        damaged.write_bytes(whole)
        mended = service.http.post("/v1/users/ann/responses", json={"query": "how are you?"}).json()
        if (mended["mode"], mended["version_id"]) != ("personalized", version.id):
            wrong.append(f"{what}: mended, but answered {mended}")
    figures.none_of(wrong, "adapter cut short, bit flipped or replaced: answers that used it or failed", "answers")


def test_a_disk_that_fills_up_at_any_byte_of_a_version_leaves_none_of_it(
    tmp_path: Path, figures: Figures, moments: random.Random
) -> None:
    store, wrong, refused = AdapterStore.open(str(tmp_path)), list[str](), 0
    stack = random_stack(Configuration((True, True), 4, 8))
    largest = len(peft_format.weights_to_bytes(stack))
    for _ in range(figures.rounds(200, 50)):
        room = moments.randrange(1, largest + 10_000)
        with largest_file(room):
            try:
                kept = store.publish("default", "u", stack, provenance())
            except StoreError as error:
                refused += 1
                if everything_in(tmp_path) or "no space is left" not in str(error):
                    wrong.append(f"{room} bytes: {everything_in(tmp_path)} {error}")
                continue
        if not same(store.load(kept.path, SmallBase()), stack):
            wrong.append(f"{room} bytes: another stack")
        store.erase_user("default", "u")
    tmp_path.chmod(0o500)
    with not_root(), pytest.raises(StoreError, match="read-only for this service"):
        AdapterStore.open(str(tmp_path / "store")).publish("default", "u", stack, provenance())
    tmp_path.chmod(0o700)
    figures.hold(at_least("disk full while publishing: refused", refused, "versions", 1))
    figures.none_of(wrong + everything_in(tmp_path), "disk full or read-only: versions half written", "versions")


def test_a_database_on_a_disk_that_fills_up_keeps_what_it_acknowledged_and_nothing_else(
    sqlite_url: str, figures: Figures, moments: random.Random
) -> None:
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    acknowledged, refused, wrong = 0, 0, list[str]()
    for number in range(figures.rounds(60, 20)):
        database = Database(sqlite_url)
        # The write-ahead log begins anew each time, and what is committed may wait there for room.
        with largest_file(moments.randrange(1_000, 150_000)):
            try:
                with database.write() as session:
                    add_user(session, user_id=f"u{number}", pairs=samples(100))
                acknowledged += 100
            except DatabaseAwayError as error:
                refused += 1
                if "Nothing was changed" not in error.detail:
                    wrong.append(error.detail)
            # The log is written into the file when the last connection closes.
            database.dispose()
        with database.read() as session:
            kept = session.connection().execute(text("SELECT count(*) FROM samples")).scalar_one()
        database.dispose()
        if kept != acknowledged:
            wrong.append(f"{kept} samples instead of {acknowledged}")
    with sqlite3.connect(file) as connection:
        (found,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    figures.hold(at_least("disk full under SQLite: refused", refused, "transactions", 1))
    figures.none_of(wrong + [found] * (found != "ok"), "disk full under SQLite: samples lost or half kept", "times")
