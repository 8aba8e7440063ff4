"""The adapter store: publish, verify, load, export and erase users' stacks.

Versions are immutable and named by their content. Nothing is loaded that is not byte for byte what was written, and
nothing onto another base. Must not know HTTP, the database or Celery: which version is active is the database's to say.
Torch is loaded only where tensors are read or written, so that the API and the CLI may import this.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from adapters_store import layout, record
from adapters_store.errors import AdapterCorruptError, AdapterNotFoundError
from adapters_store.folders import Folders, open_folders
from adapters_store.layout import CONFIG_FILE, RECORD_FILE, WEIGHTS_FILE
from adapters_store.record import Provenance
from engine.errors import StackMismatchError

if TYPE_CHECKING:
    from engine.projections import Projection
    from engine.stack import Stack

_VERSION_FILES = (CONFIG_FILE, WEIGHTS_FILE)
_LOST = "It cannot be used: activate another version of this user, or personalise again."
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""The same version always exports the same bytes, so the zip carries no time of its own."""


class Target(Protocol):
    """What a stack is loaded onto: the engine's Base, of which the store looks at this much."""

    @property
    def digest(self) -> str: ...

    @property
    def n_layers(self) -> int: ...

    @property
    def projections(self) -> tuple[Projection, ...]: ...


@dataclass(frozen=True, slots=True)
class Published:
    """A version in the store: its id, and its folder relative to the store's root."""

    id: str
    path: str


class AdapterStore:
    """All stacks that are kept, in one local folder or under one fsspec URL. Safe to share between threads."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders

    @classmethod
    def open(cls, url: str) -> AdapterStore:
        """The store at a URL: a folder, file://, s3:// or anything fsspec knows. Touches nothing yet.

        Raises:
            StoreError: no file system is known or installed for this URL.
        """
        return cls(open_folders(url))

    def ping(self) -> None:
        """Write, read and remove a few bytes; StoreError if the store is out of reach, full or read-only."""
        self._folders.probe()

    def publish(
        self,
        tenant: str,
        user_id: str,
        stack: Stack,
        provenance: Provenance,
        announce: Callable[[str], None] = lambda _path: None,
    ) -> Published:
        """Keep a stack as an immutable version: all of it or nothing.

        The same stack on the same base is the same version: if it is there and whole it is reused as it is, if it is
        there and damaged it is written anew.

        Args:
            announce: told the version's path before anything is written.

        Raises:
            StackMismatchError: the stack holds NaN, or its tensors do not belong together.
            StoreError: it could not be written (disk full, read-only, out of reach).
            ValueError: metrics or options that JSON has no word for.
        """
        from adapters_store import peft_format

        peft_format.check_publishable(stack)
        weights = peft_format.weights_to_bytes(stack)
        config = peft_format.adapter_config_bytes(stack, provenance.base_name, fan_in_fan_out=provenance.fan_in_fan_out)
        version_id = f"v_{record.content_digest(weights, stack.configuration, provenance.base_digest)}"
        path = layout.version_path(tenant, user_id, version_id)
        files = {CONFIG_FILE: config, WEIGHTS_FILE: weights}
        sealed = record.version_record(files, stack.configuration, provenance, version_id)
        announce(path)
        self._put(path, files | {RECORD_FILE: sealed})
        return Published(version_id, path)

    def load(self, path: str, base: Target) -> Stack:
        """The stack of a version, verified, on the CPU.

        Raises:
            AdapterNotFoundError: no version lies there.
            AdapterCorruptError: a file was changed, cut short or damaged.
            StackMismatchError: it was trained on another base, or a tensor fits no projection of this one.
            StoreError: the store could not be read.
        """
        found, files = self._verified_version(path)
        with _explained(path):
            version_id, name, digest = found["id"], found["base"]["name"], found["base"]["digest"]
            if digest != base.digest:
                raise StackMismatchError(
                    f"version {version_id} was trained on the base {name!r} ({digest[:12]}), "
                    f"and this service runs another one ({base.digest[:12]}): set MILP_BASE_MODEL back to it, or "
                    "personalise this user again."
                )
        return _stack_from(found, files, base, path)

    def metadata(self, path: str) -> dict[str, Any]:
        """The stack.json of a version: configuration, base, metrics, sample digests, seed, options, software.

        Raises:
            AdapterNotFoundError, AdapterCorruptError, StoreError: as for `load`; the weights are not read.
        """
        return self._record(layout.checked_version_path(path), _content_of_version(path))

    def export_zip(self, path: str) -> bytes:
        """A version as a zip of PEFT's two files and stack.json, flat: unpack it and load the folder with PEFT.

        Raises:
            AdapterNotFoundError, AdapterCorruptError, StoreError: as for `load`.
        """
        _, files = self._verified_version(path)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name, data in (*files.items(), (RECORD_FILE, self._read(f"{path}/{RECORD_FILE}", path))):
                archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), data)
        return buffer.getvalue()

    def versions_in(self, folder: str) -> list[str]:
        """Paths of the versions in a user's folder. Raises: StoreError."""
        return [f"{folder}/{name}" for name in self._folders.names(folder) if name.startswith("v_")]

    def copy(self, path: str, to: AdapterStore) -> None:
        """Put a version, verified, into another store as well, byte for byte; nothing if it is there and whole.

        Raises:
            AdapterNotFoundError, AdapterCorruptError: as for `load`.
            StoreError: one of the two could not be read or written.
        """
        _, files = self._verified_version(path)
        to._put(path, files | {RECORD_FILE: self._read(f"{path}/{RECORD_FILE}", path)})

    def erase_version(self, path: str) -> None:
        """Remove a version. It is no error if it is gone already."""
        self._folders.remove(layout.checked_version_path(path))

    def erase_user(self, tenant: str, user_id: str) -> int:
        """Remove everything kept of a user, and return how many versions that were.

        If this fails halfway, no version looks whole that is not; call it again to remove the rest.
        """
        user = layout.user_folder(tenant, user_id)
        versions = len(self.versions_in(user))
        self._folders.remove(user)
        return versions

    def _put(self, path: str, files: Mapping[str, bytes]) -> None:
        if self._is_whole(path):
            return
        try:
            self._folders.write(path, files)
        except FileExistsError:
            # Either another worker wrote the very same content meanwhile, or what is there is damaged.
            if not self._is_whole(path):
                self._folders.remove(path)
                self._folders.write(path, files)

    def _is_whole(self, path: str) -> bool:
        try:
            self._verified_version(path)
        except (AdapterNotFoundError, AdapterCorruptError):
            return False
        return True

    def _verified_version(self, path: str) -> tuple[dict[str, Any], dict[str, bytes]]:
        layout.checked_version_path(path)
        found = self._record(path, _content_of_version(path))
        files = {name: self._read(f"{path}/{name}", path) for name in _VERSION_FILES}
        with _explained(path):
            record.check_files(found, files)
        return found, files

    def _record(self, path: str, content: str) -> dict[str, Any]:
        try:
            data = self._folders.read(f"{path}/{RECORD_FILE}")
        except FileNotFoundError as error:
            raise AdapterNotFoundError(
                f"there is no complete adapter at {path} in {self._folders.url}. {_LOST}"
            ) from error
        with _explained(path):
            found = record.read_record(data)
            record.check_content(found, content)
        return found

    def _read(self, file: str, path: str) -> bytes:
        try:
            return self._folders.read(file)
        except FileNotFoundError as error:
            missing = file.rpartition("/")[2]
            raise AdapterCorruptError(f"the adapter at {path} has lost its {missing}. {_LOST}") from error


def _content_of_version(path: str) -> str:
    return path.rpartition("/v_")[2]


def _stack_from(found: Mapping[str, Any], files: Mapping[str, bytes], base: Target, path: str) -> Stack:
    from adapters_store.peft_format import weights_from_bytes
    from engine.stack import check_fits

    with _explained(path):
        stack = weights_from_bytes(files[WEIGHTS_FILE], record.configuration_of(found))
        check_fits(stack, base.projections, base.n_layers)
    return stack


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Say which adapter it is about, and what to do. A record that lacks a field is no record of ours."""
    try:
        yield
    except AdapterCorruptError as error:
        raise AdapterCorruptError(f"the adapter at {path} is damaged: {error} {_LOST}") from error
    except StackMismatchError as error:
        raise StackMismatchError(f"the adapter at {path} does not fit the base: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AdapterCorruptError(f"the adapter at {path} is damaged: stack.json is no record. {_LOST}") from error
