"""The lock on a data folder: one running service per folder, told by the kernel, so that no crash leaves it locked.

Must not know what the service is made of.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from app.embedded.errors import AlreadyRunningError, EmbeddedError

_LOCK_NAME = "service.lock"


class DataFolderLock:
    """Holds a data folder from its making until `release` (or this process's end, however it comes).

    Raises:
        AlreadyRunningError: another process holds it; the message names its address and pid.
        EmbeddedError: the folder cannot be made or written.
    """

    def __init__(self, data_dir: Path) -> None:
        path = data_dir / _LOCK_NAME
        try:
            data_dir.parent.mkdir(parents=True, exist_ok=True)
            # Histories will be in it. A folder that was there before is left as its owner wants it.
            data_dir.mkdir(mode=0o700, exist_ok=True)
            self._file = path.open("a+")
        except OSError as error:
            raise EmbeddedError(
                f"The data folder {data_dir} cannot be written ({error.strerror}). Choose another with MILP_DATA_DIR."
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _read_holder(path)
            self._file.close()
            raise AlreadyRunningError(
                f"A service is already running in {data_dir}{_described(holder)}. Use that one, stop it, "
                "or choose another folder with --data-dir."
            ) from None

    def announce(self, url: str) -> None:
        """Write down where the holder's service answers, for the message of whoever comes second."""
        self._file.seek(0)
        self._file.truncate()
        json.dump({"pid": os.getpid(), "url": url}, self._file)
        self._file.flush()

    def release(self) -> None:
        self._file.close()


def _read_holder(path: Path) -> dict[str, Any]:
    try:
        holder = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}  # its holder has only just begun to start
    return holder if isinstance(holder, dict) else {}


def _described(holder: dict[str, Any]) -> str:
    return f" (at {holder.get('url')}, process {holder.get('pid')})" if holder else ""
