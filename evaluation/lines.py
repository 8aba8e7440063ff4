"""Lines of JSON, one for each thing that was found, appended as it is, so that an interrupted run goes on where it was.

Must not know what the things are.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")


def append_line(path: Path, found: DataclassInstance) -> None:
    """Write one line. What an interrupted write left of the last one stays a line of its own."""
    with path.open("ab+") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(asdict(found)).encode() + b"\n")


def read_lines(path: Path, kind: type[T]) -> list[T]:
    """All lines of a file; none where there is no file. One that was cut short is left out.

    Raises:
        ValueError: a line says what no `kind` has, or lacks what every one has.
    """
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            found.append(kind(**json.loads(line)))
        except json.JSONDecodeError:
            continue
        except TypeError as error:
            raise ValueError(
                f"{path} was not written by this version ({error}): go on with the version that wrote it, or begin "
                "another folder."
            ) from None
    return found
