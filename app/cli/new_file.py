"""Writes a file that is not there yet. Must not know what is in it."""

from __future__ import annotations

from pathlib import Path

from app.cli.errors import CliError


def write_new_file(path: Path, content: bytes, option: str) -> None:
    """Write a file; never over one that is there.

    Args:
        option: the command's option that names another.

    Raises:
        CliError: it is there, or cannot be written.
    """
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise CliError(f"{path} is there already. Remove it, or choose another name with {option}.") from None
    except OSError as error:
        raise CliError(f"{path} cannot be written ({error.strerror}). Choose another place with {option}.") from error
