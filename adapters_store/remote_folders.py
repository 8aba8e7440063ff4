"""Folders in any fsspec file system: S3 and the like, which rename nothing and put one object at a time.

There a folder counts only once its record, written last, is there. Must not know stacks.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from adapters_store.errors import store_errors
from adapters_store.layout import RECORD_FILE


class RemoteFolders:
    """Folders under one root of an fsspec file system.

    Args:
        fs: the file system (fsspec's AbstractFileSystem), without a listings cache.
        root: the store's root in it.
        url: how the store was named, for messages.
    """

    def __init__(self, fs: Any, root: str, url: str) -> None:
        self._fs = fs
        self._root = root.rstrip("/")
        self.url = url

    def read(self, path: str) -> bytes:
        with store_errors("read", self.url, let_pass=(FileNotFoundError,)):
            return bytes(self._fs.cat_file(self._full(path)))

    def write(self, path: str, files: Mapping[str, bytes]) -> None:
        with store_errors("write to", self.url):
            try:
                self._fs.makedirs(self._full(path), exist_ok=True)
                for name, data in files.items():
                    self._fs.pipe_file(self._full(f"{path}/{name}"), data)
            except BaseException:
                # What cannot be cleaned up either has no record, so it is no adapter. With a record it is another
                # worker's, of the same content and whole.
                with suppress(Exception):
                    if not self._fs.exists(self._full(f"{path}/{RECORD_FILE}")):
                        self.remove(path)
                raise

    def names(self, path: str) -> list[str]:
        with store_errors("list", self.url):
            try:
                found = self._fs.ls(self._full(path), detail=False)
            except FileNotFoundError:
                return []
            return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in found)

    def remove(self, path: str) -> None:
        with store_errors("remove from", self.url):
            # Records first: if this is interrupted, no folder that looks whole has lost a file.
            for name in self._fs.find(self._full(path)):
                if name.rsplit("/", 1)[-1] == RECORD_FILE:
                    self._fs.rm_file(name)
            with suppress(FileNotFoundError):
                self._fs.rm(self._full(path), recursive=True)

    def probe(self) -> None:
        with store_errors("write to", self.url):
            self._fs.makedirs(self._root, exist_ok=True)
            probe = self._full(f".probe-{secrets.token_hex(8)}")
            self._fs.pipe_file(probe, b"probe")
            self._fs.cat_file(probe)
            self._fs.rm_file(probe)

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"
