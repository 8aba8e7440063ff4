"""What clients are shown of jobs, trials and versions: rows of the database as bodies of the API."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session

from app.job_states import TrialState
from app.repositories import overview, trials
from app.schemas.jobs import BestTrial, FrontPoint, JobError, JobOut, JobSummary, TrialOut
from app.tables import Job, Trial
from engine.pareto import pareto_front

_DONE = frozenset({TrialState.succeeded, TrialState.failed, TrialState.stopped})


def summaries(session: Session, tenant: str, jobs: Sequence[Job]) -> list[JobSummary]:
    """Jobs as they stand in a list, with two queries at most."""
    done = overview.trials_done(session, tenant, [job.id for job in jobs])
    waits_for = overview.waits_for(session, tenant, [job.id for job in jobs])
    return [_summary(job, done.get(job.id, 0), waits_for.get(job.id)) for job in jobs]


def full(session: Session, job: Job) -> JobOut:
    """A job with its best trial, its Pareto front and its report."""
    tried = trials.trials_of(session, job.tenant_id, job.id)
    waits_for = overview.waits_for(session, job.tenant_id, [job.id])
    summary = _summary(job, sum(trial.state in _DONE for trial in tried), waits_for.get(job.id))
    scored = _scored(tried)
    best = max(scored, key=lambda point: (point.rouge_l, -point.loss), default=None)
    return JobOut(
        **summary.model_dump(),
        best=BestTrial(trial=best.trial, rouge_l=best.rouge_l, loss=best.loss) if best else None,
        pareto_front=[scored[i] for i in pareto_front(scored)],
        report=job.report,
    )


def trial_out(trial: Trial) -> TrialOut:
    scores = trial.scores or {}
    # Of trials from before scores were kept for every pass, the mean losses were: the `curve`.
    passes = scores.get("passes") or scores.get("curve") or []
    return TrialOut(
        **trial.model_dump(include=set(TrialOut.model_fields) - {"error", "stopped_after"}),
        stopped_after=len(passes) if trial.state == TrialState.stopped else None,
        error=JobError.model_validate(trial.error) if trial.error else None,
    )


def _summary(job: Job, trials_done: int, waits_for: str | None) -> JobSummary:
    return JobSummary(
        **job.model_dump(include=set(JobSummary.model_fields) - {"trials_done", "waits_for", "error"}),
        trials_done=trials_done,
        waits_for=waits_for,
        error=JobError.model_validate(job.error) if job.error else None,
    )


def _scored(tried: Sequence[Trial]) -> list[FrontPoint]:
    return [
        FrontPoint(trial=t.number, loss=t.loss, rouge_l=t.rouge_l, layers=t.layers, n=t.n, r=t.r)
        for t in tried
        if t.state == TrialState.succeeded and t.loss is not None and t.rouge_l is not None
    ]
