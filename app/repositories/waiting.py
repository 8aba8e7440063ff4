"""Steps that wait for a worker: which of them is made next, by whom.

Reads only, and for all tenants. A `moment` is one of `database_now`. Must not know how a step is claimed or ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, exists, or_, text
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from app.job_states import IDLE, StepKind, StepState
from app.repositories import jobs
from app.tables import READY_AND_BEGUN, Job, Step

_BEGINS = (col(Step.kind) == StepKind.plan) & (col(Step.round) == 0)
"""What `begins_job` says of a step, in a query."""
# As the index's own text: with parameters in it neither database sees that it is the index's condition.
_READY_AND_BEGUN = text(READY_AND_BEGUN)


def due(session: Session, moment: datetime, limit: int) -> Sequence[Step]:
    """Ready steps to ring the broker for: those of jobs that have begun, then those that begin one, each longest due
    first. What has begun ends before more is begun, so of many jobs the first ends early and not all of them late.

    Jobs that are paused or over are left out, and so are jobs of a user who has an older unfinished one.
    """
    startable = _startable().where(Step.send_after <= moment)
    found = list(session.exec(startable.where(_READY_AND_BEGUN).limit(limit)))
    if len(found) < limit:
        found += session.exec(startable.where(_BEGINS).limit(limit - len(found)))
    return found


def begins_job(step: Step) -> bool:
    """Whether it is its job's first step."""
    return step.kind == StepKind.plan and step.round == 0


def plan_to_make(session: Session, moment: datetime) -> Step | None:
    """A plan step that may be claimed now, whether or not the broker was rung for it already.

    One that begins a job only where no step of a job that has begun waits for a worker.
    """
    startable = _startable().where(_rung_or_due(moment))
    plans_first = startable.order_by(None).order_by(col(Step.kind) != StepKind.plan, col(Step.send_after), col(Step.id))
    waits = session.exec(plans_first.where(_READY_AND_BEGUN).limit(1)).first()
    if waits is None:
        return session.exec(startable.where(_BEGINS).limit(1)).first()
    return waits if waits.kind == StepKind.plan else None


def training_to_make(session: Session, moment: datetime, rung: int) -> Step | None:
    """The evaluate step that has waited longest and may be claimed now.

    Args:
        rung: how often the broker was rung for it, at least, without a worker's taking it.
    """
    waits = (_rung_or_due(moment), col(Step.sends) >= rung)
    query = _startable().where(_READY_AND_BEGUN, col(Step.kind) == StepKind.evaluate, *waits)
    # By age, not by when it is rung for next: jobs that began earlier end earlier.
    return session.exec(query.order_by(None).order_by(col(Step.id)).limit(1)).first()


def _rung_or_due(moment: datetime) -> ColumnElement[bool]:
    """What was given back for later waits; what was rung for already may be taken before it is rung for again."""
    return or_(col(Step.sends) > 0, col(Step.send_after) <= moment)


def _startable() -> SelectOfScalar[Step]:
    waits_for_older = exists().where(*jobs.holds_up(aliased(Job), Job))
    return (
        select(Step)
        .join(Job, col(Job.id) == Step.job_id)
        .where(Step.state == StepState.ready, col(Job.status).not_in(IDLE), ~waits_for_older)
        .order_by(col(Step.send_after), col(Step.id))
    )
