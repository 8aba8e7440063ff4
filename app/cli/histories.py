"""Reads history files: one JSON object per user and line, or OpenAI chat JSONL. Knows files, not the service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from app.cli.errors import CliError
from app.importers.names import valid_user_id

_BODY_BYTES = 30 * 2**20
"""Most bytes of samples and profile in one request: a little below the `max_body_bytes` that a service has unless told
otherwise. As large as can be, because the service stores a request's samples all or none."""
_NAMES_SHOWN = 12
T = TypeVar("T")


@dataclass(frozen=True)
class History:
    """One user's history as it stands in a file. `user_id` is one the service accepts, `name` the file's own.

    A profile of None leaves the one that the service has as it is.
    """

    name: str
    profile: str | None
    samples: list[dict[str, Any]] = field(repr=False)

    @property
    def user_id(self) -> str:
        return valid_user_id(self.name)

    def bodies(self, start: int = 0, most_bytes: int | None = None) -> Iterator[dict[str, Any]]:
        """The history from a sample on as request bodies, as few as it takes; that of the first has the profile.

        Args:
            most_bytes: of a body; None: as many as a service takes unless told otherwise.
        """
        head: dict[str, Any] = {"profile": self.profile} if start == 0 and self.profile is not None else {}
        most = _BODY_BYTES if most_bytes is None else most_bytes
        for group in in_groups(self.samples[start:], encoded_bytes, most, taken=encoded_bytes(head)):
            yield {"samples": group, **head}
            head = {}


def encoded_bytes(value: dict[str, Any]) -> int:
    """Bytes of an object in a request's JSON; a few more than are sent, for the spaces after its separators."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def in_groups(
    items: Sequence[T], bytes_of: Callable[[T], int], most_bytes: int, *, taken: int = 0
) -> Iterator[list[T]]:
    """Runs of items of at most so many bytes, separators included; an item that is larger is a run of its own.

    Args:
        taken: bytes of the first run that something else needs.
    """
    group: list[T] = []
    size = taken
    for item in items:
        length = bytes_of(item) + 1
        if group and size + length > most_bytes:
            yield group
            group, size = [], 0
        group.append(item)
        size += length
    yield group


def jsonl_lines(text: str) -> list[str]:
    """The lines of JSONL, each with the blank ones before it, so that joined they count as they did."""
    lines: list[str] = []
    blank = ""
    for line in text.split("\n"):
        if line.strip():
            lines.append(blank + line)
            blank = ""
        else:
            blank += line + "\n"
    return lines


def names_no_user(path: Path) -> bool:
    """Whether a file holds one user's JSONL as the API takes it: OpenAI chat lines, or lines of pairs."""
    _, first = next(_rows(path), (0, {}))
    return "user_id" not in first and ("messages" in first or "query" in first)


def read_text(path: Path) -> str:
    """A file's text.

    Raises:
        CliError: it is not there, not readable or not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise CliError(f"{path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise CliError(f"{path} is not UTF-8 (byte {error.start}). Save it as UTF-8 and try again.") from error


def read_histories(path: Path) -> list[History]:
    """All histories of a file `{"user_id", "profile"?, "samples": [{"query", "response", "time"?, "kind"?}]}` a line.

    Raises:
        CliError: naming file, line and what is wrong.
    """
    histories = [_history(row, f"{path}, line {number}") for number, row in _rows(path)]
    if not histories:
        raise CliError(f"{path} is empty. It should hold one user's history as a JSON object in each line.")
    names = [history.name for history in histories]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise CliError(f"{path} holds the user {twice!r} in more than one line. Join them into one.")
    return histories


def choose(histories: Sequence[History], names: Sequence[str], where: str) -> list[History]:
    """Those of the given names, in the names' order; all where no name is given.

    Raises:
        CliError: a name that is not there; the message lists those that are.
    """
    known = {history.name: history for history in histories}
    missing = next((name for name in names if name not in known), None)
    if missing is not None:
        raise CliError(f"{where} holds no user {missing!r}. It has: {listed(list(known))}.")
    return [known[name] for name in dict.fromkeys(names)] if names else list(histories)


def listed(names: Sequence[str]) -> str:
    """Names for a message, not too many."""
    shown = ", ".join(names[:_NAMES_SHOWN])
    return f"{shown} and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else shown


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise CliError(f"{path}, line {number} is not JSON ({error}).") from error
        if not isinstance(row, dict):
            raise CliError(f"{path}, line {number} is not a JSON object.")
        yield number, row


def _history(row: dict[str, Any], where: str) -> History:
    name, profile, samples = row.get("user_id"), row.get("profile"), row.get("samples")
    if not isinstance(name, str) or not name:
        raise CliError(f'{where} has no "user_id". Each line is {{"user_id", "profile", "samples": [...]}}.')
    if not isinstance(profile, str | None):
        raise CliError(f'{where}: "profile" is not a text.')
    if not isinstance(samples, list) or not samples:
        raise CliError(f'{where}: "samples" is not a list of {{"query", "response"}} pairs.')
    return History(
        name, profile or "", [_sample(sample, f"{where}, sample {i}") for i, sample in enumerate(samples, 1)]
    )


def _sample(sample: Any, where: str) -> dict[str, Any]:
    if not isinstance(sample, dict) or not all(isinstance(sample.get(key), str) for key in ("query", "response")):
        raise CliError(f'{where} needs "query" and "response", both texts.')
    sent = {key: sample[key] for key in ("query", "response", "kind") if sample.get(key) is not None}
    if sample.get("time") is not None:
        sent["time"] = _iso(sample["time"], where)
    return sent


def _iso(time: Any, where: str) -> str:
    """A time as the API takes it: ISO 8601 with an offset; UTC where the file gives none."""
    try:
        moment = datetime.fromisoformat(time)
    except (TypeError, ValueError):
        raise CliError(f'{where}: "time" {time!r} is not a time. Write it as 2026-11-03T18:30:00Z.') from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
