"""What can go wrong in the adapter store, as one tree. Each message says what to do.

Must not know HTTP: `app.problems` maps these to status codes.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}


class StoreError(Exception):
    """Root: the store cannot be read or written (full, read-only, out of reach)."""


class AdapterNotFoundError(StoreError):
    """There is no complete adapter at that path."""


class AdapterCorruptError(StoreError):
    """An adapter's files are not what was published: changed, cut short or damaged."""


@contextmanager
def store_errors(action: str, where: str, *, let_pass: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn whatever the file system raises into a StoreError that says what to do.

    Object stores raise classes of their own that share no root (botocore's are no OSError), so all are caught.

    Args:
        action: what was being done, as in "write to".
        where: the store's URL.
        let_pass: classes the caller answers for itself.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (StoreError, *let_pass)):
            raise
        raise StoreError(f"cannot {action} the adapter store {where}: {_advice(error)}") from error


def _advice(error: Exception) -> str:
    code = error.errno if isinstance(error, OSError) else None
    reason = str(error) or type(error).__name__
    if code in _FULL:
        return f"no space is left there ({reason}). Nothing was changed; free some space and start again."
    if code in _FORBIDDEN or isinstance(error, PermissionError):
        return f"it is read-only for this service ({reason}). Give the service's user write access and start again."
    return f"{reason}. Check that MILP_STORE_URL names it rightly and that it can be reached, then start again."
