"""Files to import in tests: the fixtures by name, and texts; and what an importer made of them, to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.importers.formats import convert
from app.importers.given import Given
from app.importers.reading import Source
from app.importers.result import Imported, Limits

EXAMPLES = {
    "milp": ("milp.jsonl", None),
    "openai-chat": ("openai_chat.jsonl", None),
    "csv": ("table.csv", None),
    "lamp": ("lamp4_questions.json", "lamp4_outputs.json"),
    "amazonqa": ("amazonqa.jsonl", None),
    "malp": ("malp.json", None),
    "msp": ("msp.txt", None),
    "irc": ("2008-06-03.small.ascii.txt", "2008-06-03.small.annotation.txt"),
}
"""A file of each format, and its second file where it has one."""
FIXTURES = Path(__file__).with_name("fixtures")
LIMITS = Limits(sample_chars=200, profile_chars=40)


def fixture(name: str) -> Source:
    return Source((FIXTURES / name).read_bytes(), name)


def imported(name: str, file: Source | str | bytes, second: Source | str | None = None, **more: Any) -> Imported:
    """A file in the format `name`, converted."""
    return convert(name, Given(_source(file), LIMITS, None if second is None else _source(second), **more))


def pairs(result: Imported) -> dict[str, list[tuple[str, str]]]:
    """The pairs of each user, by the name the file gives."""
    return {user.name: [(sample.query, sample.response) for sample in user.samples] for user in result.users}


def times(result: Imported, name: str) -> list[str | None]:
    """When each of a user's pairs was, in ISO 8601."""
    (user,) = [user for user in result.users if user.name == name]
    return [sample.time.isoformat() if sample.time else None for sample in user.samples]


def dropped(result: Imported) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Count and first places of what was left out, by reason."""
    return {entry.reason: (entry.count, entry.first) for entry in result.dropped}


def _source(file: Source | str | bytes) -> Source:
    if isinstance(file, Source):
        return file
    return Source(file.encode() if isinstance(file, str) else file)
