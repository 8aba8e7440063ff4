"""`milp import --format`: files in other formats made into histories here, then sent or written. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.cli.errors import CliError
from app.cli.histories import History, choose
from app.cli.new_file import write_new_file
from app.errors import ServiceError
from app.importers.formats import convert, format_of
from app.importers.given import Given
from app.importers.milp import as_jsonl, sample_row
from app.importers.reading import Source
from app.importers.result import Imported, ImportedUser, Limits
from app.settings import Settings


@dataclass(frozen=True)
class Conversion:
    """A file made into histories, of the users that were asked for.

    Args:
        fewest: samples that a person needs for a job.
    """

    imported: Imported
    users: tuple[ImportedUser, ...]
    fewest: int

    @property
    def histories(self) -> list[History]:
        return [_history(user) for user in self.users]

    def in_words(self) -> Iterator[str]:
        yield from self.imported.in_words()
        if len(self.users) < len(self.imported.users):
            yield f"Of these users, {len(self.users)} asked for."
        if short := sum(len(user.samples) < self.fewest for user in self.users):
            few = f"Fewer than {self.fewest} samples here, without more too few to learn from"
            yield f"{few}: {short} of {len(self.users)}."


def convert_file(
    format_name: str, file: Path, second: Path | None, names: Sequence[str], settings: Settings
) -> Conversion:
    """Read a file in a format.

    Args:
        names: whose histories are wanted, all where there is none; a single one is also whose the pairs are that name
            no user.
        settings: say what is too long. A service may have others, and then says so itself.

    Raises:
        CliError: naming the file and what is wrong.
    """
    known = format_of(format_name)
    given = Given(
        _source(file),
        Limits(settings.max_sample_chars, settings.max_profile_chars),
        _source(second) if second else None,
        names[0] if len(names) == 1 and not (known and known.names_users) else None,
    )
    try:
        imported = convert(format_name, given)
    except ServiceError as error:
        raise CliError(f"{file}: {error.detail}") from error
    wanted = {history.name for history in choose([_history(user) for user in imported.users], names, str(file))}
    return Conversion(
        imported, tuple(user for user in imported.users if user.name in wanted), settings.min_history_samples
    )


def write_new(conversion: Conversion, out: Path) -> None:
    """Write histories in the native format; never over a file that is there.

    Raises:
        CliError: it is there, or cannot be written.
    """
    write_new_file(out, as_jsonl(conversion.users).encode(), "--out")


def _source(path: Path) -> Source:
    try:
        return Source(path.read_bytes(), path.name)
    except OSError as error:
        raise CliError(f"{path} cannot be read ({error.strerror}).") from error


def _history(user: ImportedUser) -> History:
    return History(user.name, user.profile, [sample_row(sample) for sample in user.samples])
