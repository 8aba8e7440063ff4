"""The lock that keeps two services out of one data folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.embedded.data_folder import DataFolderLock
from app.embedded.errors import AlreadyRunningError, EmbeddedError

_HOLDER = """
import sys, time
from pathlib import Path
from app.embedded.data_folder import DataFolderLock
lock = DataFolderLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_a_second_service_on_the_same_folder_is_told_where_the_first_is(tmp_path: Path) -> None:
    first = DataFolderLock(tmp_path)
    first.announce("http://127.0.0.1:8321")
    with pytest.raises(AlreadyRunningError, match=rf"at http://127.0.0.1:8321, process {os.getpid()}\)"):
        DataFolderLock(tmp_path)
    first.release()


def test_a_released_folder_can_be_held_again(tmp_path: Path) -> None:
    DataFolderLock(tmp_path).release()
    DataFolderLock(tmp_path).release()


def test_a_holder_killed_with_minus_nine_leaves_no_lock(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(AlreadyRunningError):
            DataFolderLock(tmp_path)
        holder.kill()
    DataFolderLock(tmp_path).release()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match=r"file/data cannot be written .* MILP_DATA_DIR"):
        DataFolderLock(tmp_path / "file" / "data")


def test_a_new_folder_is_for_its_account_alone_and_an_old_one_stays_as_it_was(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    old.chmod(0o755)
    for folder, mode in ((tmp_path / "deep" / "new", 0o700), (old, 0o755)):
        DataFolderLock(folder).release()
        assert folder.stat().st_mode & 0o777 == mode
