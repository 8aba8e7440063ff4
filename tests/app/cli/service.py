"""A real service for the command line's tests, and the command line itself, run as its users run it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path


@dataclass(frozen=True)
class Ran:
    """A finished command: its exit code and what it wrote."""

    code: int
    out: str
    err: str


_keys: dict[str, str] = {}


def remember_key(url: str, key: str) -> None:
    """Have `milp` send this key to the service of this URL, as a person would who set MILP_API_KEY."""
    _keys[url] = key


def milp(*arguments: str, folder: Path, given: str = "", **settings: str) -> Ran:
    """Run `milp ARGUMENTS` in `folder`, with `given` on its standard input."""
    url = next((after for before, after in pairwise(arguments) if before == "--url"), "")
    known = {"MILP_API_KEY": _keys[url]} if url in _keys else {}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MILP_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "app.cli.main", *arguments],
        cwd=folder,
        env={**kept, **known, **settings},
        input=given,
        capture_output=True,
        text=True,
        timeout=280,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def one_line(ran: Ran) -> str:
    """The single line of a failed command."""
    assert ran.code == 1
    assert ran.out == ""
    (line,) = ran.err.splitlines()
    assert line.startswith("milp: ")
    return line
