"""Erasures: begun in the transaction that deletes, complete once none of their holders is waited for any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, or_, update
from sqlmodel import Session, col, select

from adapters_store import layout
from app.erasure_states import ErasureKind, HolderState
from app.erasure_tables import Erasure, Holder, Process
from app.errors import ErasureNotFoundError, UserBeingErasedError
from app.job_states import StepState
from app.repositories import processes
from app.repositories.clock import database_now
from app.repositories.paging import Page, page
from app.tables import Job, Step

_TRY_AGAIN_SECONDS = 5
_UNFINISHED = select(Erasure.id).where(
    Erasure.tenant_id == bindparam("tenant"),
    Erasure.folder == bindparam("folder"),
    col(Erasure.completed_at).is_(None),
)
"""A user's erasures that are not complete. Made once: every write for a user asks."""


@dataclass(frozen=True, slots=True)
class AtWork:
    """A step that a worker was at, and until when it may go on without renewing its lease."""

    step_id: int
    owner: str
    lease_until: datetime


def steps_at_work(session: Session, tenant: str, user_id: str) -> list[AtWork]:
    """Steps of the user's jobs that a worker is at: it has their samples in memory. Ask before they are cancelled."""
    statement = (
        select(Step.id, Step.owner, Step.lease_until)
        .join(Job, col(Job.id) == Step.job_id)
        .where(Job.tenant_id == tenant, Job.user_id == user_id, Step.state == StepState.claimed)
    )
    return [AtWork(step or 0, owner or "", until) for step, owner, until in session.exec(statement) if until]


def begin(
    session: Session, tenant: str, user_id: str, kind: ErasureKind, removed: dict[str, Any], at_work: Sequence[AtWork]
) -> Erasure:
    """Note an erasure in the transaction that does it. Every API process that runs has to confirm it, and every
    worker that was at one of the steps.
    """
    moment = database_now(session)
    erasure = Erasure(
        tenant_id=tenant,
        folder=layout.user_folder(tenant, user_id),
        kind=kind,
        removed=removed,
        requested_at=moment,
    )
    session.add(erasure)
    session.flush()
    holders = [
        Holder(erasure_id=erasure.id, name=process.id, where=process.name)
        for process in processes.running(session, moment)
    ]
    holders += [
        Holder(erasure_id=erasure.id, name=step_name(step.step_id), where=step.owner, lease_until=step.lease_until)
        for step in at_work
    ]
    session.add_all(holders)
    session.flush()
    return erasure


def step_name(step_id: int | None) -> str:
    """The name of a step as a holder."""
    return f"step_{step_id}"


def refuse_if_erasing(session: Session, tenant: str, user_id: str) -> None:
    """Whoever writes for a user asks this, holding the user's row.

    Raises:
        UserBeingErasedError: an erasure of theirs is not complete; what came after it could not be told from before.
    """
    given = {"tenant": tenant, "folder": layout.user_folder(tenant, user_id)}
    if (erasure_id := session.exec(_UNFINISHED, params=given).first()) is not None:
        raise UserBeingErasedError(
            f"User '{user_id}' is being erased. Send this again once GET /v1/erasures/{erasure_id} says complete.",
            headers={"Retry-After": str(_TRY_AGAIN_SECONDS)},
        )


def waiting_for(session: Session, holder: str) -> Sequence[Erasure]:
    """Erasures that this holder has not confirmed."""
    statement = (
        select(Erasure)
        .join(Holder, col(Holder.erasure_id) == Erasure.id)
        .where(Holder.name == holder, Holder.state == HolderState.waiting)
        .order_by(col(Erasure.requested_at))
    )
    return session.exec(statement).all()


def confirm(session: Session, holder: str, state: HolderState, erasure_id: str | None = None) -> int:
    """The holder has nothing any more: of one erasure, or of all. Says for how many it was waited."""
    statement = update(Holder).where(col(Holder.name) == holder, col(Holder.state) == HolderState.waiting)
    if erasure_id is not None:
        statement = statement.where(col(Holder.erasure_id) == erasure_id)
    return session.exec(
        statement.values(state=state, at=database_now(session)), execution_options={"synchronize_session": False}
    ).rowcount


def let_lapse(session: Session, moment: datetime) -> int:
    """Wait no more for processes and steps whose lease ran out; how many those were."""
    alive = select(Process.id).where(Process.lease_until >= moment)
    of_a_step = col(Holder.lease_until) < moment
    of_a_process = col(Holder.lease_until).is_(None) & col(Holder.name).not_in(alive)
    return session.exec(
        update(Holder)
        .where(col(Holder.state) == HolderState.waiting, or_(of_a_step, of_a_process))
        .values(state=HolderState.lapsed, at=moment),
        execution_options={"synchronize_session": False},
    ).rowcount


def unfinished(session: Session) -> Sequence[Erasure]:
    """Those that are not complete, oldest first."""
    return session.exec(
        select(Erasure).where(col(Erasure.completed_at).is_(None)).order_by(col(Erasure.requested_at))
    ).all()


def held_by_nobody(session: Session) -> Sequence[Erasure]:
    """Those of the unfinished that wait for nobody any more, oldest first."""
    waits = select(Holder.name).where(Holder.erasure_id == Erasure.id, Holder.state == HolderState.waiting).exists()
    return session.exec(
        select(Erasure).where(col(Erasure.completed_at).is_(None), ~waits).order_by(col(Erasure.requested_at))
    ).all()


def holders(session: Session, erasure: Erasure) -> Sequence[Holder]:
    """Who held something, by name."""
    return session.exec(select(Holder).where(Holder.erasure_id == erasure.id).order_by(col(Holder.name))).all()


def is_at_work_again(session: Session, tenant: str, folder: str) -> bool:
    """Whether a worker is at a step of a new job of the erased user: what it puts into the store is not the old's."""
    statement = (
        select(Job.user_id)
        .join(Step, col(Step.job_id) == Job.id)
        .where(Job.tenant_id == tenant, Step.state == StepState.claimed)
    )
    return any(layout.user_folder(tenant, user_id) == folder for user_id in session.exec(statement))


def complete(session: Session, erasure: Erasure) -> bool:
    """Mark it complete. False: somebody else did meanwhile."""
    done = session.exec(
        update(Erasure)
        .where(col(Erasure.id) == erasure.id, col(Erasure.completed_at).is_(None))
        .values(completed_at=database_now(session)),
        execution_options={"synchronize_session": False},
    )
    return done.rowcount == 1


def get_erasure(session: Session, tenant: str, erasure_id: str) -> Erasure:
    """Raises: ErasureNotFoundError."""
    erasure = session.exec(select(Erasure).where(Erasure.tenant_id == tenant, Erasure.id == erasure_id)).one_or_none()
    if erasure is None:
        raise ErasureNotFoundError(f"There is no erasure '{erasure_id}'. GET /v1/erasures lists them.")
    return erasure


def page_erasures(session: Session, tenant: str, cursor: str | None, limit: int) -> Page[Erasure]:
    """The tenant's erasures, newest first. Raises: InvalidCursorError."""
    return page(
        session,
        select(Erasure).where(Erasure.tenant_id == tenant),
        [Erasure.requested_at, Erasure.id],
        lambda erasure: [erasure.requested_at, erasure.id],
        [datetime, str],
        cursor=cursor,
        limit=limit,
        newest_first=True,
    )
