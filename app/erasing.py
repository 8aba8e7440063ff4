"""Deleting for good: rows, stored stacks, and what this process holds of them.

The files go within the transaction, before it commits: if either fails, the user is still there and the deletion can
be asked for again. The other way round, files of a user whom nobody can name any more would stay for ever.
"""

from __future__ import annotations

from adapters_store import layout
from app.access import audit
from app.access.audit import Deed
from app.repositories import erasure, users
from app.repositories.erasure import Erased
from app.schemas.users import UserErased
from app.state import Services


def erase_history(services: Services, deed: Deed, user_id: str) -> Erased:
    """Delete samples, versions and stored stacks; cancel unfinished jobs.

    Raises:
        UserNotFoundError, StoreError: nothing of the database was changed.
    """
    tenant = deed.tenant
    with audit.noted(services.database, deed) as session:
        gone = erasure.erase_history(session, tenant, user_id)
        audit.done(session, deed)
        services.store.erase_user(tenant, user_id)
    _forget(services, tenant, user_id)
    return gone


def erase_user(services: Services, deed: Deed, user_id: str) -> UserErased:
    """Delete the user and everything of theirs. Raises as `erase_history`."""
    tenant = deed.tenant
    with audit.noted(services.database, deed) as session:
        cancelled = erasure.cancel_unfinished_jobs(session, tenant, user_id)
        users.delete_user(session, tenant, user_id)
        audit.done(session, deed)
        stacks = services.store.erase_user(tenant, user_id)
    _forget(services, tenant, user_id)
    return UserErased(user_id=user_id, jobs_cancelled=cancelled, stacks=stacks)


def _forget(services: Services, tenant: str, user_id: str) -> None:
    services.runtime.forget(layout.user_folder(tenant, user_id) + "/")
    services.memory.forget(tenant, user_id)
