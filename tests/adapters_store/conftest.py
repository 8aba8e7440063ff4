"""Stores to test with: a local folder, and fsspec's memory file system for whatever renames nothing."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from adapters_store.folders import Folders, open_folders
from adapters_store.store import AdapterStore


@pytest.fixture(params=["folder", "file_url", "memory_url"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty store; the test runs once on each kind."""
    if request.param == "memory_url":
        root = f"/store-{secrets.token_hex(8)}"
        yield f"memory:/{root}"
        memory = fsspec.filesystem("memory")
        if memory.exists(root):
            memory.rm(root, recursive=True)
    else:
        folder = tmp_path / "a store"
        yield folder.as_uri() if request.param == "file_url" else str(folder)


@pytest.fixture
def folders(store_url: str) -> Folders:
    return open_folders(store_url)


@pytest.fixture
def store(folders: Folders) -> AdapterStore:
    return AdapterStore(folders)
