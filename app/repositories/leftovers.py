"""Folders of the store that a step was about to write, whether or not it lived to name them in a row.

They are noted before anything is written, so that what a killed worker left there can be found. Knows no store.
"""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from app.job_states import FINAL, StepState
from app.repositories.steps import LeaseLostError
from app.repositories.users import lock_user
from app.tables import Job, Step, Version

_ENDED = (StepState.done, StepState.failed, StepState.cancelled)


def announce(session: Session, step: Step, path: str) -> None:
    """Note that the step, as it was claimed, is about to write this folder.

    Raises:
        LeaseLostError: it is no longer the claimer's.
    """
    held = (col(Step.id) == step.id, col(Step.state) == StepState.claimed, col(Step.attempt) == step.attempt)
    present = session.exec(select(Step.leaves).where(*held)).all()
    paths = sorted({path, *(present[0] or [])}) if present else []
    statement = update(Step).where(*held).values(leaves=paths)
    if not session.exec(statement, execution_options={"synchronize_session": False}).rowcount:
        raise LeaseLostError(f"step {step.id} was taken before it could write {path}")


def unsettled_steps(session: Session, limit: int) -> list[Step]:
    """Steps that have ended and may have left folders that no row names, of users without an unfinished job."""
    other = aliased(Job)
    of_user = (col(other.tenant_id) == Job.tenant_id, col(other.user_id) == Job.user_id)
    unfinished = select(other.id).where(*of_user, col(other.status).not_in(FINAL)).exists()
    statement = select(Step).join(Job, col(Job.id) == Step.job_id)
    statement = statement.where(col(Step.leaves).is_not(None), col(Step.state).in_(_ENDED), ~unfinished)
    return list(session.exec(statement.order_by(col(Step.id)).limit(limit)))


def settle(session: Session, step: Step) -> list[str]:
    """The folders that the step may have left and no row names. They are to be erased in this same transaction.

    Nothing while a job of the user is unfinished, for it may be about to publish the very same; no other can begin
    before the transaction ends.

    Raises:
        UserNotFoundError: the user was deleted, and the folders with them.
    """
    job = session.get_one(Job, step.job_id)
    lock_user(session, job.tenant_id, job.user_id)
    of_user = (Job.tenant_id == job.tenant_id, Job.user_id == job.user_id)
    if session.exec(select(select(Job.id).where(*of_user, col(Job.status).not_in(FINAL)).exists())).one():
        return []
    paths = step.leaves or []
    named = session.exec(select(Version.path).where(Version.tenant_id == job.tenant_id, col(Version.path).in_(paths)))
    step.leaves = None
    session.add(step)
    return sorted(set(paths) - set(named))
