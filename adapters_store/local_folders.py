"""Folders on a local disk: written aside, flushed, then renamed into place, so that a crash leaves all or nothing.

Must not know stacks.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from adapters_store.errors import store_errors
from adapters_store.layout import RECORD_FILE

_ASIDE = ".aside"
_STALE_SECONDS = 3600.0
"""A folder left aside for so long belongs to a process that was killed; writing one takes seconds."""


class LocalFolders:
    """Folders under one local root.

    A folder is written to `<root>/.aside`, on the same file system, under a name made of the path it is meant for, so
    that removing a user also removes what a killed process left there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.expanduser().absolute()
        self.url = str(self._root)

    def read(self, path: str) -> bytes:
        with store_errors("read", self.url, let_pass=(FileNotFoundError,)):
            return (self._root / path).read_bytes()

    def write(self, path: str, files: Mapping[str, bytes]) -> None:
        target = self._root / path
        aside = self._root / _ASIDE / f"{_flat(path)}@{secrets.token_hex(8)}"
        with store_errors("write to", self.url, let_pass=(FileExistsError,)):
            self._remove_stale()
            try:
                _make_folder(aside)
                for name, data in files.items():
                    _write_file(aside / name, data)
                _flush_folder(aside)
                _make_folder(target.parent)
                _rename(aside, target)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
            _flush_folder(target.parent)

    def names(self, path: str) -> list[str]:
        with store_errors("list", self.url):
            return _names(self._root / path)

    def remove(self, path: str) -> None:
        target = self._root / path
        with store_errors("remove from", self.url):
            for leftover in self._left_aside(path):
                shutil.rmtree(leftover, ignore_errors=True)
            # Records first: if this is interrupted, no folder that looks whole has lost a file. Nothing is renamed,
            # for that can fail on a full disk, which is when removing matters.
            for record in target.rglob(RECORD_FILE):
                record.unlink(missing_ok=True)
            while target.exists():
                with suppress(FileNotFoundError):  # somebody else removes it too
                    shutil.rmtree(target)
            if target.parent.exists():
                _flush_folder(target.parent)

    def probe(self) -> None:
        with store_errors("write to", self.url):
            _make_folder(self._root)
            probe = self._root / f".probe-{secrets.token_hex(8)}"
            try:
                _write_file(probe, b"probe")
                probe.read_bytes()
            finally:
                probe.unlink(missing_ok=True)

    def _left_aside(self, path: str) -> Iterator[Path]:
        for name in _names(self._root / _ASIDE):
            if name.startswith((f"{_flat(path)}@", f"{_flat(path)}.")):
                yield self._root / _ASIDE / name

    def _remove_stale(self) -> None:
        for name in _names(self._root / _ASIDE):
            leftover = self._root / _ASIDE / name
            with suppress(FileNotFoundError):
                if time.time() - leftover.stat().st_mtime > _STALE_SECONDS:
                    shutil.rmtree(leftover, ignore_errors=True)


def _flat(path: str) -> str:
    # No part of a path has a dot or an @ (layout), so this keeps different paths apart.
    return path.replace("/", ".")


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def _write_file(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents so that they outlast a power cut: each new name is flushed to disk."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _flush_folder(folder.parent)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot flush a folder
            raise
    finally:
        os.close(descriptor)


def _rename(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(str(target)) from error
        raise
