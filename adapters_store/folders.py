"""What the store asks of the place it lies in, and how a URL finds that place. Must not know stacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from adapters_store.errors import StoreError
from adapters_store.local_folders import LocalFolders
from adapters_store.remote_folders import RemoteFolders


class Folders(Protocol):
    """Folders of small numbers of files, by relative path with forward slashes. Failures are StoreErrors."""

    url: str

    def read(self, path: str) -> bytes:
        """The content of a file; FileNotFoundError if there is none."""

    def write(self, path: str, files: Mapping[str, bytes]) -> None:
        """Put a whole folder in place, its files in this order, or leave nothing.

        FileExistsError if the place is taken, where the file system can tell.
        """

    def names(self, path: str) -> list[str]:
        """What lies directly in a folder, sorted; nothing if there is no such folder."""

    def remove(self, path: str) -> None:
        """Remove a folder with all that is in it. It is no error if there is none."""

    def probe(self) -> None:
        """Write, read and remove a few bytes; StoreError if that does not work."""


def open_folders(url: str) -> Folders:
    """The place a URL names: a local folder (plain path or file://), or whatever fsspec has a file system for.

    Raises:
        StoreError: no file system is known or installed for this URL.
    """
    scheme = urlsplit(url).scheme
    if scheme in ("file", "local"):
        # A file URL is percent-encoded (RFC 8089); fsspec would take "%20" for three characters.
        return LocalFolders(Path(url2pathname(url.removeprefix(f"{scheme}:").removeprefix("//"))))
    if "://" not in url:
        return LocalFolders(Path(url))
    import fsspec

    try:
        # Another process publishes what this one loads: a remembered listing would hide it.
        fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ValueError, ImportError, OSError) as error:
        raise StoreError(
            f"no file system for the adapter store {url} ({error}). Set MILP_STORE_URL to a folder or to a URL that "
            "fsspec knows; S3 needs `pip install milp-serve[s3]`."
        ) from error
    return RemoteFolders(fs, root, url)
