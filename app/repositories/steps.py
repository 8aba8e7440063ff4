"""Steps of jobs: which are due, who may work on one, and how one ends.

A worker owns a step by a lease it took with a compare-and-set; `attempt` is the fencing token, so that a worker whose
lease was taken can record nothing. Every change to a step holds its job's row: a job's steps change one after another,
whoever makes them. A `moment` is one of `database_now`. Knows the database only: no broker, no worker, no base model.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, or_, update
from sqlmodel import Session, col, func, select
from sqlmodel.sql.expression import SelectOfScalar

from app.job_states import FINAL, IDLE, STATUS_OF_STEP, JobStatus, StepKind, StepState, TrialState
from app.repositories import events, jobs
from app.repositories.clock import database_now
from app.tables import Event, Job, Step, Trial, now

LONGEST_PAUSE_SECONDS = 60.0
"""Longest pause between two sends of one step, what a lost message costs at worst; and before another attempt."""
_OPEN = frozenset({StepState.ready, StepState.claimed})


class LeaseLostError(Exception):
    """The step is no longer this worker's: its lease ran out and was taken, or the job was cancelled or deleted."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One worker's hold on one step. Only the claim with the step's present `attempt` may finish it."""

    step_id: int
    job_id: str
    tenant: str
    kind: StepKind
    attempt: int


def mark_sent(session: Session, step: Step, moment: datetime) -> None:
    """Note that the broker was rung for `step`; it is due again after a pause that doubles from one second."""
    pause = timedelta(seconds=min(LONGEST_PAUSE_SECONDS, 2.0 ** min(step.sends, 6)))
    # Another dispatcher may have sent it too: only the first of them makes the pause longer.
    where = (col(Step.state) == StepState.ready, col(Step.sends) == step.sends)
    _update(session, step.id, where, sends=step.sends + 1, send_after=moment + pause)


def claim(session: Session, step_id: int, owner: str, lease_seconds: float) -> Claim | None:
    """Take a ready step, or None where there is nothing to take: another worker has it, or its job rests or is over."""
    step = session.get(Step, step_id)
    job = _locked_job(session, step) if step is not None else None
    if step is None or job is None or job.status in IDLE:
        return None
    lease_until = database_now(session) + timedelta(seconds=lease_seconds)
    ready = (col(Step.state) == StepState.ready,)
    values = {"state": StepState.claimed, "owner": owner, "lease_until": lease_until, "attempt": col(Step.attempt) + 1}
    if not _update(session, step_id, ready, **values):
        return None
    session.refresh(step)
    # Planning beside trials in training is not what the job is seen to do.
    beside = step.kind == StepKind.plan and job.status == JobStatus.evaluating and _any_claimed(session, job)
    if job.status != STATUS_OF_STEP[step.kind] and not beside:
        jobs.set_status(session, job, STATUS_OF_STEP[step.kind])
    return Claim(step_id, job.id, job.tenant_id, step.kind, step.attempt)


def renew(session: Session, held: Claim, lease_seconds: float) -> bool:
    """Make the lease longer. False: it is lost, for the step was taken, cancelled or deleted."""
    lease_until = database_now(session) + timedelta(seconds=lease_seconds)
    return _update(session, held.step_id, _is_held(held), lease_until=lease_until)


def hold(session: Session, held: Claim) -> tuple[Job, Step]:
    """The claimed step and its job, locked until the transaction ends: what is recorded now is recorded by the owner.

    Raises:
        LeaseLostError: the claim is no longer the present one.
    """
    step = session.get(Step, held.step_id)
    job = _locked_job(session, step) if step is not None else None
    if step is None or job is None:
        raise LeaseLostError(f"step {held.step_id} is gone: its job was deleted")
    session.refresh(step)
    if step.state != StepState.claimed or step.attempt != held.attempt or job.status in FINAL:
        raise LeaseLostError(f"step {held.step_id} is {step.state} at attempt {step.attempt}, held was {held.attempt}")
    return job, step


def finish(session: Session, held: Claim) -> Job:
    """End a step well. Its results and the steps that follow it are to be written in this same transaction.

    Returns:
        The step's job, locked until the transaction ends.

    Raises:
        LeaseLostError: the claim is no longer the present one; the caller's transaction must not commit.
    """
    job, step = hold(session, held)
    _end_step(step, StepState.done)
    session.add(step)
    # Progress is of interest while it is made; the trials' own events stay.
    session.exec(delete(Event).where(col(Event.job_id) == held.job_id, col(Event.kind) == "progress"))
    session.flush()
    return job


def of_kind(session: Session, job: Job, kind: StepKind) -> list[Step]:
    """The job's steps of this kind, in the order they were made."""
    session.flush()
    return list(session.exec(select(Step).where(Step.job_id == job.id, Step.kind == kind).order_by(col(Step.id))))


def open_steps(session: Session, job: Job, kind: StepKind) -> int:
    """How many steps of this kind still have to end."""
    query = select(func.count()).where(Step.job_id == job.id, Step.kind == kind, col(Step.state).in_(_OPEN))
    return session.exec(query).one()


def give_back(session: Session, held: Claim, pause_seconds: float = 0.0) -> None:
    """Leave a step undone, for any worker to take after the pause, which is cut to LONGEST_PAUSE_SECONDS.

    Raises:
        LeaseLostError: the claim is no longer the present one.
    """
    _, step = hold(session, held)
    pause = timedelta(seconds=min(pause_seconds, LONGEST_PAUSE_SECONDS))
    _make_ready(session, step, database_now(session) + pause)


def fail(session: Session, held: Claim, code: str, detail: str) -> None:
    """End a step and its job with an error for the user.

    Raises:
        LeaseLostError: the claim is no longer the present one.
    """
    job, step = hold(session, held)
    _fail_job(session, job, step, code, detail)


def any_expired(session: Session, moment: datetime) -> bool:
    """Whether some step's lease has run out. Needs no write lock."""
    return session.exec(select(_expired(moment).exists())).one()


def release_expired(session: Session, moment: datetime, max_attempts: int) -> dict[int, str]:
    """Make steps whose worker fell silent ready again; a job whose step was tried too often fails (`gave_up`).

    Returns:
        Ids of the steps whose lease had run out, with their owners.
    """
    released = {}
    for step in session.exec(_expired(moment).order_by(col(Step.id))).all():
        job = _locked_job(session, step)
        session.refresh(step)
        if job is None or step.state != StepState.claimed or step.lease_until is None or step.lease_until >= moment:
            continue
        released[step.id or 0] = step.owner or ""
        if step.attempt >= max_attempts:
            detail = (
                f"The {step.kind} step was started {step.attempt} times and its worker died, fell silent or got stuck "
                "each time, so the job was given up. See the worker's log, for instance for lack of memory, then start "
                "it again."
            )
            _fail_job(session, job, step, "gave_up", detail)
        else:
            _make_ready(session, step, moment)
    session.flush()
    return released


def owners_at_work(session: Session, moment: datetime) -> set[str]:
    """Owners of steps whose lease has not run out."""
    held = select(Step.owner).where(Step.state == StepState.claimed, col(Step.lease_until) >= moment)
    return {owner or "" for owner in session.exec(held)}


def any_ahead(session: Session, moment: datetime, lease_seconds: float) -> bool:
    """Whether the clock was set back: some lease or due time is further ahead than any is made. No write lock."""
    return session.exec(select(select(Step).where(or_(*_ahead(moment, lease_seconds))).exists())).one()


def catch_up(session: Session, moment: datetime, lease_seconds: float) -> None:
    """After the clock was set back: nobody waits for it to come again to where it was.

    A worker that lives renews its lease from here on; one that does not has lost it when this one has run out.
    """
    waits, lease = _ahead(moment, lease_seconds)
    lease_until = moment + timedelta(seconds=lease_seconds)
    for where, values in ((waits, {"send_after": moment}), (lease, {"lease_until": lease_until})):
        session.exec(update(Step).where(where).values(values), execution_options={"synchronize_session": False})


def _ahead(moment: datetime, lease_seconds: float) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    # Twice what is ever made: a worker's own settings may differ a little.
    longest_pause = moment + timedelta(seconds=2 * LONGEST_PAUSE_SECONDS)
    longest_lease = moment + timedelta(seconds=2 * lease_seconds)
    return (
        and_(col(Step.state) == StepState.ready, col(Step.send_after) > longest_pause),
        and_(col(Step.state) == StepState.claimed, col(Step.lease_until) > longest_lease),
    )


def _expired(moment: datetime) -> SelectOfScalar[Step]:
    return select(Step).where(Step.state == StepState.claimed, col(Step.lease_until) < moment)


def _locked_job(session: Session, step: Step) -> Job | None:
    """The step's job as it is now, locked (PostgreSQL; on SQLite the whole transaction is)."""
    query = select(Job).where(Job.id == step.job_id, Job.tenant_id == step.tenant_id)
    query = query.with_for_update(key_share=True)
    return session.exec(query, execution_options={"populate_existing": True}).one_or_none()


def _any_claimed(session: Session, job: Job) -> bool:
    claimed = select(Step.id).where(
        Step.job_id == job.id, Step.kind == StepKind.evaluate, Step.state == StepState.claimed
    )
    return session.exec(select(claimed.exists())).one()


def _is_held(held: Claim) -> tuple[ColumnElement[bool], ...]:
    return (col(Step.state) == StepState.claimed, col(Step.attempt) == held.attempt)


def _update(session: Session, step_id: int | None, where: Collection[ColumnElement[bool]], **values: Any) -> bool:
    """Change one step if it is still as `where` says: the compare-and-set all claims rest on."""
    statement = update(Step).where(col(Step.id) == step_id, *where).values(values)
    return session.exec(statement, execution_options={"synchronize_session": False}).rowcount == 1


def _make_ready(session: Session, step: Step, send_after: datetime) -> None:
    step.state, step.owner, step.lease_until = StepState.ready, None, None
    step.sends, step.send_after = 0, send_after
    session.add(step)


def _end_step(step: Step, state: StepState) -> None:
    step.state, step.lease_until, step.finished_at = state, None, now()


def _fail_job(session: Session, job: Job, step: Step, code: str, detail: str) -> None:
    """The step failed, so its job does, and whatever of it was still to be done is cancelled."""
    error = {"code": code, "detail": detail}
    _end_step(step, StepState.failed)
    session.add(step)
    session.flush()
    ended = {"finished_at": now()}
    session.exec(
        update(Step)
        .where(col(Step.job_id) == job.id, col(Step.state).in_(_OPEN))
        .values(state=StepState.cancelled, lease_until=None, **ended)
    )
    session.exec(
        update(Trial)
        .where(col(Trial.job_id) == job.id, col(Trial.state) == TrialState.planned)
        .values(state=TrialState.cancelled, **ended)
    )
    job.error = error
    events.append(session, job, "error", error)
    jobs.set_status(session, job, JobStatus.failed)
