"""Fail when a file of the repository names a path of one person's machine, which no other machine has.

`make check` and a test run it over every file that git tracks or would track.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Folders that belong to one machine or account, at the start of a path: not within a URL or a relative path.
MACHINE_PATH = re.compile(r"(?<![\w./~-])/(?:root|home|Users|work|workspace|scratch)/[\w.-]+")


def kept_files() -> list[Path]:
    """Every file git tracks, or would track if it were added, as absolute paths."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def machine_paths(text: str) -> list[tuple[int, str]]:
    """(line number, path) of each machine path in `text`."""
    return [
        (number, match.group())
        for number, line in enumerate(text.splitlines(), start=1)
        for match in MACHINE_PATH.finditer(line)
    ]


def main() -> int:
    """Print each machine path found; 1 if there is any."""
    found = 0
    for path in kept_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # weights and pictures
        for number, name in machine_paths(text):
            print(f"{path.relative_to(ROOT)}:{number}: names {name}, a path of one machine")
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
