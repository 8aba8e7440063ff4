"""Idempotency-Key: the same request under the same key is done once and answered alike.

The answer is kept in the transaction that does what it reports, so there is no moment in which the one is there
without the other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlmodel import Session

from app.access import audit
from app.access.audit import Deed
from app.database import Database
from app.errors import IdempotencyKeyReusedError, InvalidInputError
from app.forms import is_form, read_form
from app.repositories import idempotency

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Once:
    """A request that may come again.

    Args:
        key: its Idempotency-Key, None where it has none.
        fingerprint: SHA-256 (hex) of method, path with query, and body: what tells another request from a repeat.
    """

    key: str | None
    fingerprint: str

    def run(
        self,
        database: Database,
        deed: Deed,
        status: int,
        effect: Callable[[Session], BaseModel],
        *,
        notes_itself: bool = False,
    ) -> JSONResponse:
        """Do `effect` in one transaction and answer with what it returns, or give the answer given before.

        The audit log notes what was done or refused, and not that an answer was given again.

        Args:
            notes_itself: whether `effect` notes in the audit log what it did, for it does several things.

        Raises:
            IdempotencyKeyReusedError: the key was used for another request. Whatever `effect` raises; then nothing is
            kept, and the request may be sent again under the same key.
        """
        tenant = deed.tenant
        with audit.noted(database, deed) as session:
            if self.key is not None:
                known = idempotency.find(session, tenant, self.key)
                if known is not None:
                    if known.fingerprint != self.fingerprint:
                        raise IdempotencyKeyReusedError(
                            f"Idempotency-Key '{self.key}' was used for another request. Choose a new key."
                        )
                    return JSONResponse(known.body, known.status_code, {"Idempotency-Replayed": "true"})
            body = effect(session).model_dump(mode="json")
            if not notes_itself:
                audit.done(session, deed)
            if self.key is not None:
                idempotency.remember(session, tenant, self.key, self.fingerprint, status, body)
        return JSONResponse(body, status)


async def once(
    request: Request,
    idempotency_key: Annotated[
        str | None, Header(description="1 to 255 printable ASCII characters; a repeat within a day is not done again")
    ] = None,
) -> Once:
    """The request's Idempotency-Key and fingerprint (a dependency)."""
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        raise InvalidInputError("Idempotency-Key is 1 to 255 printable ASCII characters without spaces.")
    if idempotency_key is None:
        return Once(None, "")
    digest = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    if is_form(request):
        # A client draws a new boundary for every sending of the same form.
        form = await read_form(request)
        for name, content in sorted([(n, v.encode()) for n, v in form.fields.items()] + list(form.files.items())):
            called = form.file_names.get(name, "")
            digest.update(
                f"{len(name)} {len(called)} {len(content)} {name}{called}".encode("utf-8", "backslashreplace")
            )
            digest.update(content)
    else:
        digest.update(await request.body())
    return Once(idempotency_key, digest.hexdigest())


OnceDep = Annotated[Once, Depends(once)]
