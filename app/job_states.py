"""States of jobs, steps and trials, and which may follow which. The one place that says so.

A job is one personalization run for one user. It advances in steps (plan, evaluate, publish), each a short unit of
work that one worker claims. Must not know the database or HTTP.
"""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    queued = "queued"
    planning = "planning"
    evaluating = "evaluating"
    publishing = "publishing"
    paused = "paused"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in FINAL


class StepKind(StrEnum):
    plan = "plan"
    evaluate = "evaluate"
    publish = "publish"


class StepState(StrEnum):
    ready = "ready"
    claimed = "claimed"
    done = "done"
    failed = "failed"
    cancelled = "cancelled"


class TrialState(StrEnum):
    planned = "planned"
    succeeded = "succeeded"
    failed = "failed"
    stopped = "stopped"
    """Trained in part: it could not win any more."""
    cancelled = "cancelled"


class TrialOrigin(StrEnum):
    """Why a configuration was tried."""

    base = "base"
    default = "default"
    initial = "initial"
    proposed = "proposed"


FINAL = frozenset({JobStatus.succeeded, JobStatus.failed, JobStatus.cancelled})
IDLE = FINAL | {JobStatus.paused}
"""Nothing of such a job is begun."""
_WORKING = frozenset({JobStatus.planning, JobStatus.evaluating, JobStatus.publishing})
_ENDS = frozenset({JobStatus.failed, JobStatus.cancelled})

TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.queued: _WORKING | _ENDS | {JobStatus.paused},
    JobStatus.planning: (_WORKING - {JobStatus.planning}) | _ENDS | {JobStatus.paused},
    JobStatus.evaluating: (_WORKING - {JobStatus.evaluating}) | _ENDS | {JobStatus.paused},
    JobStatus.publishing: _ENDS | {JobStatus.paused, JobStatus.succeeded},
    # A step that was running when the job was paused may still finish; the job stays paused until resumed, and goes
    # straight back to work if the step is still running then.
    JobStatus.paused: _WORKING | _ENDS | {JobStatus.queued, JobStatus.succeeded},
    JobStatus.succeeded: frozenset(),
    JobStatus.failed: frozenset(),
    JobStatus.cancelled: frozenset(),
}

STATUS_OF_STEP: dict[StepKind, JobStatus] = {
    StepKind.plan: JobStatus.planning,
    StepKind.evaluate: JobStatus.evaluating,
    StepKind.publish: JobStatus.publishing,
}


def may_follow(current: JobStatus, following: JobStatus) -> bool:
    """Whether a job in `current` may go to `following`."""
    return following in TRANSITIONS[current]
