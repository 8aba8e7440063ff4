"""What can go wrong while the parts of an embedded service start, run and stop. Each message says what to do.

Must not know the command line: `app.cli` prints these as one line.
"""

from __future__ import annotations


class EmbeddedError(Exception):
    """Root of everything the supervisor raises on purpose."""


class AlreadyRunningError(EmbeddedError):
    """Another service holds this data folder."""


class PortInUseError(EmbeddedError):
    """The API cannot bind its address."""


class RedisMissingError(EmbeddedError):
    """There is no redis-server to start."""


class BackupError(EmbeddedError):
    """A backup cannot be made or used."""


class PartFailedError(EmbeddedError):
    """A child process ended, or never became ready. `log_tail` holds the last lines it wrote, oldest first."""

    def __init__(self, message: str, log_tail: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.log_tail = log_tail
