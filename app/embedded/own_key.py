"""The key that a service on one machine makes for itself, kept in a file that only this account may read.

Commands on this machine find it there by themselves. Must not know the command line, nor what the key is sent with.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from app.embedded.errors import EmbeddedError
from app.errors import ServiceError, UnauthorizedError
from app.settings import Settings

_NAME = "api-key"


def own_key_file(data_dir: Path) -> Path:
    return data_dir / _NAME


def read_own_key(data_dir: Path) -> str | None:
    """The key in this data folder, None where there is none or it may not be read."""
    try:
        return own_key_file(data_dir).read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def keep_own_key(settings: Settings) -> str:
    """The key in the data folder if the database takes it, else a new one of tenant 'default', with every scope.

    The database must have its tables.

    Raises:
        EmbeddedError: the database cannot be used, or the file not be written.
    """
    from app.access import managing
    from app.access.audit import OPERATOR, Deed
    from app.access.identity import DEFAULT_TENANT, identify
    from app.access.key_text import SCOPES
    from app.database import Database

    file, known = own_key_file(settings.data_dir), read_own_key(settings.data_dir)
    database = Database(settings.resolved_database_url)
    try:
        if known is not None:
            with contextlib.suppress(UnauthorizedError):
                if identify(settings, database, known.encode()).scopes == frozenset(SCOPES):
                    file.chmod(0o600)
                    return known
        deed = Deed(DEFAULT_TENANT, OPERATOR, "milp up")
        made = managing.create(database, deed, managing.Wanted("milp up on this machine", SCOPES)).text
        _write(file, made)
    except ServiceError as error:
        raise EmbeddedError(error.detail) from error
    except OSError as error:
        raise EmbeddedError(
            f"The key of this service cannot be kept in {file} ({error.strerror}). Choose another folder with "
            "MILP_DATA_DIR."
        ) from error
    finally:
        database.dispose()
    return made


def _write(file: Path, key: str) -> None:
    """Whole or not at all, and from its first byte on for this account alone."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as opened:
        opened.write(f"{key}\n")
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)
