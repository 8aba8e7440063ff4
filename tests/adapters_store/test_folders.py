"""Both kinds of folders: complete or absent, and clear about what went wrong."""

from __future__ import annotations

import errno
import os
import resource
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from adapters_store.errors import StoreError
from adapters_store.folders import Folders, open_folders
from adapters_store.layout import RECORD_FILE
from adapters_store.local_folders import LocalFolders
from adapters_store.remote_folders import RemoteFolders

FILES = {"weights": b"w" * 1000, RECORD_FILE: b"{}"}


class FillingFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """A file system with room for one file only; it can also lose its connection for good."""

    cachable = False
    store: dict[str, Any] = {}  # noqa: RUF012  (fsspec keeps the files of all instances in the class)
    pseudo_dirs: list[str] = [""]  # noqa: RUF012
    protocol = "filling"
    written = 0
    away = False

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        self.written += 1
        if self.written > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().pipe_file(path, value, mode=mode, **kwargs)

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        if self.away:
            raise ConnectionError("connection lost")
        super().rm(path, recursive=recursive, maxdepth=maxdepth)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: the kernel cuts the write short, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def not_root() -> Iterator[None]:
    """Root may write everywhere, so a process of root's becomes somebody else for a moment."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def everything_in(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_what_is_written_is_read_back(folders: Folders) -> None:
    folders.write("t/u/x", FILES)
    assert folders.read("t/u/x/weights") == FILES["weights"]
    assert folders.names("t/u/x") == sorted(FILES)
    assert "x" in folders.names("t/u")


def test_a_missing_file_is_file_not_found_and_a_missing_folder_is_empty(folders: Folders) -> None:
    with pytest.raises(FileNotFoundError):
        folders.read("t/u/x/weights")
    assert folders.names("t/u") == []


def test_removing_takes_everything_below_and_nothing_beside(folders: Folders) -> None:
    for path in ("t/u/x", "t/u/y/z", "t/ux/x"):
        folders.write(path, FILES)
    folders.remove("t/u")
    assert folders.names("t/u") == []
    assert folders.read("t/ux/x/weights") == FILES["weights"]
    folders.remove("t/u")


def test_the_probe_leaves_nothing(folders: Folders) -> None:
    folders.probe()
    assert folders.names("") == []


def test_a_taken_place_is_not_overwritten_on_a_local_disk(tmp_path: Path) -> None:
    local = LocalFolders(tmp_path)
    local.write("t/u/x", FILES)
    with pytest.raises(FileExistsError):
        local.write("t/u/x", {"weights": b"other"})
    assert local.read("t/u/x/weights") == FILES["weights"]
    assert everything_in(tmp_path) == ["t/u/x/stack.json", "t/u/x/weights"]


def test_of_many_writers_of_one_place_exactly_one_wins_on_a_local_disk(tmp_path: Path) -> None:
    local, barrier, outcomes = LocalFolders(tmp_path), threading.Barrier(8), []

    def write(number: int) -> None:
        barrier.wait()
        try:
            local.write("t/u/x", {"weights": bytes([number]), RECORD_FILE: bytes([number])})
            outcomes.append(number)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 1
    assert {local.read(f"t/u/x/{name}") for name in FILES} == {bytes(outcomes)}
    assert len(everything_in(tmp_path)) == 2


def test_a_full_local_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    local = LocalFolders(tmp_path)
    with largest_file(300_000), pytest.raises(StoreError, match=r"no space is left.*free some space"):
        local.write("t/u/x", {"config": b"c", "weights": b"w" * 400_000, RECORD_FILE: b"{}"})
    assert everything_in(tmp_path) == []
    assert local.names("t/u/x") == []
    local.write("t/u/x", FILES)
    assert local.names("t/u/x") == sorted(FILES)


def test_a_full_object_store_leaves_nothing_half_written() -> None:
    fs, root = FillingFileSystem(), f"/{secrets.token_hex(8)}"
    with pytest.raises(StoreError, match="no space is left"):
        RemoteFolders(fs, root, "filling://x").write("t/u/x", FILES)
    assert fs.find(root) == []


def test_an_object_store_lost_while_writing_leaves_no_record() -> None:
    fs, root = FillingFileSystem(), f"/{secrets.token_hex(8)}"
    fs.away = True
    with pytest.raises(StoreError, match="no space is left"):
        RemoteFolders(fs, root, "filling://x").write("t/u/x", FILES)
    assert [name.rsplit("/", 1)[1] for name in fs.find(root)] == ["weights"]


def test_an_object_store_out_of_reach_says_what_to_check() -> None:
    fs = FillingFileSystem()
    fs.away = True
    folders = RemoteFolders(fs, f"/{secrets.token_hex(8)}", "filling://x")
    folders.write("t/u/x", {RECORD_FILE: b"{}"})
    with pytest.raises(StoreError, match=r"cannot remove from the adapter store filling://x.*MILP_STORE_URL"):
        folders.remove("t/u/x")
    with pytest.raises(FileNotFoundError):
        folders.read(f"t/u/x/{RECORD_FILE}")


def test_what_a_killed_process_left_aside_goes_with_its_user(tmp_path: Path) -> None:
    local = LocalFolders(tmp_path)
    for name in ("t.u.x@0011", "t.u.trials.job_1.3-00@22", "t.u@33", "t.uu.x@44"):
        (tmp_path / ".aside" / name).mkdir(parents=True)
        (tmp_path / ".aside" / name / "weights").write_bytes(b"w")
    local.remove("t/u")
    assert everything_in(tmp_path) == [".aside/t.uu.x@44/weights"]


def test_what_a_killed_process_left_aside_is_cleared_after_an_hour(tmp_path: Path) -> None:
    local = LocalFolders(tmp_path)
    for name, age in (("t.a.x@00", 2 * 3600), ("t.b.x@11", 60)):
        (tmp_path / ".aside" / name).mkdir(parents=True)
        os.utime(tmp_path / ".aside" / name, (time.time() - age,) * 2)
    local.write("t/u/x", FILES)
    assert [path.name for path in (tmp_path / ".aside").iterdir()] == ["t.b.x@11"]


def test_a_file_in_the_roots_place_is_reported_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    local = LocalFolders(tmp_path / "store")
    for attempt in (local.probe, lambda: local.write("t/u/x", FILES), lambda: local.read("t/u/x/weights")):
        with pytest.raises(StoreError, match=r"adapter store .*/store"):
            attempt()


def test_a_folder_without_write_access_says_who_needs_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with not_root(), pytest.raises(StoreError, match=r"read-only for this service.*write access"):
        LocalFolders(tmp_path / "store").probe()


def test_a_percent_encoded_file_url_names_the_folder_it_means(tmp_path: Path) -> None:
    folder = tmp_path / "my store"
    open_folders(folder.as_uri()).write("t/u/x", FILES)
    assert (folder / "t/u/x/weights").read_bytes() == FILES["weights"]


def test_an_unknown_scheme_says_what_may_be_named() -> None:
    with pytest.raises(StoreError, match=r"no file system .*nosuch://x.*Set MILP_STORE_URL"):
        open_folders("nosuch://x")
