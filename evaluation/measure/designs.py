"""An initial design tried once for several searches: with the same seed, split and training its trials are the same.

Must not know methods.
"""

from __future__ import annotations

from sqlmodel import Session

from app.job_options import ResolvedOptions
from app.job_states import StepKind, StepState
from app.repositories import jobs, steps, trials
from app.tables import Job, Step, Trial
from workers.search.presets import budget
from workers.steps.ahead import plan_when_due


def share_design(session: Session, job: Job, other: Job) -> None:
    """Give a new job the initial design that another job of the same person tried, as if it had tried it itself.

    Nothing is shared where their options differ in more than the surrogate.
    """
    if {**job.options, "surrogate": None} != {**other.options, "surrogate": None}:
        return
    design = [trial for trial in trials.trials_of(session, other.tenant_id, other.id) if trial.round == 0]
    for plan in steps.of_kind(session, job, StepKind.plan):
        plan.state = StepState.done
        session.add(plan)
    made: dict[int, Step] = {}
    copies = []
    for trial in design:
        if trial.step_id not in made:
            made[trial.step_id] = jobs.add_step(session, job, StepKind.evaluate)
            made[trial.step_id].state = StepState.done
            session.add(made[trial.step_id])
        values = trial.model_dump(exclude={"id", "job_id", "step_id"})
        copies.append(Trial(**values, job_id=job.id, step_id=made[trial.step_id].id or 0))
    session.add_all(copies)
    session.flush()
    options = ResolvedOptions(**job.options)
    job.trials_planned = budget(options.preset, options.trials).trials
    session.add(job)
    plan_when_due(session, job, copies, 1)
