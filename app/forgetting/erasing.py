"""Deleting for good: rows and stored stacks at once, and an erasure that every process has yet to confirm.

The files go within the transaction, before it commits: if either fails, the user is still there and the deletion can
be asked for again. The other way round, files of a user whom nobody can name any more would stay for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import structlog
from sqlmodel import Session

from adapters_store import layout
from adapters_store.errors import StoreError
from app.access import audit
from app.access.audit import Deed
from app.erasure_states import ErasureKind
from app.errors import DatabaseAwayError
from app.forgetting import receipts
from app.forgetting.views import erasure_out
from app.repositories import erasure, erasures
from app.repositories.erasure import Removed
from app.repositories.erasures import AtWork
from app.schemas.erasures import ErasureOut
from app.state import Services

log = structlog.get_logger(__name__)


def erase_user(services: Services, deed: Deed, user_id: str) -> ErasureOut:
    """Delete the user and everything of theirs.

    Raises:
        UserNotFoundError, StoreError: nothing of the database was changed.
    """
    services.forgetter.enter()
    pseudonym = layout.user_digest(deed.tenant, user_id)
    with audit.noted(services.database, deed) as session:
        at_work = erasures.steps_at_work(session, deed.tenant, user_id)
        removed = erasure.erase_user(session, deed.tenant, user_id, pseudonym)
        audit.done(session, deed.on(pseudonym))
        begun = _begun(services, session, deed, user_id, ErasureKind.user, removed, at_work)
    return _settled(services, deed.tenant, begun)


def erase_history(services: Services, deed: Deed, user_id: str) -> ErasureOut:
    """Delete samples, versions and stored stacks; cancel unfinished jobs. The user stays. Raises as `erase_user`."""
    services.forgetter.enter()
    with audit.noted(services.database, deed) as session:
        at_work = erasures.steps_at_work(session, deed.tenant, user_id)
        removed = erasure.erase_history(session, deed.tenant, user_id)
        audit.done(session, deed)
        begun = _begun(services, session, deed, user_id, ErasureKind.history, removed, at_work)
    return _settled(services, deed.tenant, begun)


def _begun(
    services: Services,
    session: Session,
    deed: Deed,
    user_id: str,
    kind: ErasureKind,
    removed: Removed,
    at_work: Sequence[AtWork],
) -> ErasureOut:
    stacks = services.store.erase_user(deed.tenant, user_id)
    begun = erasures.begin(session, deed.tenant, user_id, kind, {**asdict(removed), "stacks": stacks}, at_work)
    begun.receipt = receipts.signed(session, begun)
    session.flush()
    return erasure_out(session, begun)


def _settled(services: Services, tenant: str, begun: ErasureOut) -> ErasureOut:
    """What this process holds is dropped at once; the others follow.

    If that cannot be done now it is done later: the user is deleted, and whoever asked is to know it.
    """
    try:
        services.forgetter.look()
        with services.database.read() as session:
            return erasure_out(session, erasures.get_erasure(session, tenant, begun.id))
    except (DatabaseAwayError, StoreError) as error:
        log.warning("erasure_waits", erasure=begun.id, reason=str(error))
        return begun
