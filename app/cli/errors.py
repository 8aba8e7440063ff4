"""What the command line reports as one line on stderr, with a non-zero exit code.

Must not know where the failure came from: whoever raises says what to do about it.
"""

from __future__ import annotations


class CliError(Exception):
    """One line for the person at the terminal: what is wrong and what to do."""


class ServiceAwayError(CliError):
    """No service answers at the URL."""


class RefusedError(CliError):
    """The service answered with a problem. `code` is its stable code, `status` the HTTP status."""

    def __init__(self, message: str, *, code: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, raised like Ctrl-C so that everything on the way out is stopped in order."""
