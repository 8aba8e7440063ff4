"""What `milp forget` does: erase a user, wait until nobody holds anything of them, keep the receipt. A REST client."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from app.cli.client import Json, ServiceClient
from app.cli.errors import CliError
from app.cli.new_file import write_new_file

_LOOK_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 180.0
"""Longer than the lease of a process that was killed."""


def forget(client: ServiceClient, user_id: str, receipt: Path | None) -> None:
    """Erase a user and say what was removed, once every process has confirmed; write the receipt if a file is named.

    Raises:
        CliError: not everybody has confirmed in time. Database and store are done, the others go on.
    """
    erasure = client.erase_user(user_id)
    removed = erasure["removed"]
    _print(
        f"{user_id}: {removed['samples']} samples, {removed['jobs']} jobs and {len(removed['versions'])} versions "
        f"removed from database and store ({erasure['id']})."
    )
    erasure = _complete(client, erasure)
    _print(f"Nobody holds anything of {user_id} any more: {len(erasure['holders'])} confirmed.")
    if receipt is not None:
        write_new_file(receipt, f"{erasure['receipt']}\n".encode(), "--receipt")
        _print(f"{receipt}: the signed receipt. GET /v1/erasures/keys has the keys it verifies with.")


def _complete(client: ServiceClient, erasure: Json) -> Json:
    deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
    while erasure["state"] != "complete":
        if time.monotonic() > deadline:
            waiting = [holder["where"] for holder in erasure["holders"] if holder["state"] == "waiting"]
            raise CliError(
                f"{', '.join(waiting) or 'The sweep of the store'} has not confirmed yet. It goes on: "
                f"GET /v1/erasures/{erasure['id']} says when it is complete, and has the receipt."
            )
        time.sleep(_LOOK_SECONDS)
        erasure = client.erasure(erasure["id"])
    return erasure


def _print(line: str) -> None:
    Console().print(line, markup=False, highlight=False, soft_wrap=True)
