"""What clients are shown of jobs, trials and versions: rows of the database as bodies of the API."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session

from app.job_states import TrialState
from app.repositories import jobs, overview, trials
from app.repositories.overview import Progress
from app.schemas.jobs import BestTrial, FrontPoint, JobError, JobOut, JobSummary, TrialOut
from app.tables import Job, Trial
from engine.pareto import pareto_front


def summaries(session: Session, tenant: str, listed: Sequence[Job]) -> list[JobSummary]:
    """Jobs as they stand in a list, with one query."""
    progress = overview.progress(session, tenant, [job.id for job in listed])
    return [_summary(job, progress.get(job.id, Progress())) for job in listed]


def waiting(job: jobs.Waiting) -> JobSummary:
    """A job that no worker has touched yet."""
    return _summary(job.job, Progress(waits_for=job.waits_for))


def full(session: Session, job: Job) -> JobOut:
    """A job with its best trial, its Pareto front and its report."""
    (summary,) = summaries(session, job.tenant_id, [job])
    scored = _scored(trials.trials_of(session, job.tenant_id, job.id))
    best = max(scored, key=lambda point: (point.rouge_l, -point.loss), default=None)
    return JobOut(
        **summary.model_dump(),
        best=BestTrial(trial=best.trial, rouge_l=best.rouge_l, loss=best.loss) if best else None,
        pareto_front=[scored[i] for i in pareto_front(scored)],
        report=job.report,
    )


def trial_out(trial: Trial) -> TrialOut:
    scores = trial.scores or {}
    # A trial of a job that began when all scores were kept for every pass has them instead of a curve of losses.
    passes = scores.get("curve") or scores.get("passes") or []
    return TrialOut(
        **trial.model_dump(include=set(TrialOut.model_fields) - {"error", "stopped_after"}),
        stopped_after=len(passes) if trial.state == TrialState.stopped else None,
        error=JobError.model_validate(trial.error) if trial.error else None,
    )


def _summary(job: Job, progress: Progress) -> JobSummary:
    return JobSummary(
        **job.model_dump(include=set(JobSummary.model_fields) - {"trials_done", "waits_for", "error"}),
        trials_done=progress.trials_done,
        waits_for=progress.waits_for,
        error=JobError.model_validate(job.error) if job.error else None,
    )


def _scored(tried: Sequence[Trial]) -> list[FrontPoint]:
    return [
        FrontPoint(trial=t.number, loss=t.loss, rouge_l=t.rouge_l, layers=t.layers, n=t.n, r=t.r)
        for t in tried
        if t.state == TrialState.succeeded and t.loss is not None and t.rouge_l is not None
    ]
