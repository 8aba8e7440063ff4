"""When the next trials may be planned: while the last ones are still in training, from what those before them told.

So the device does not wait for the surrogate. What a plan looks at depends on the order of the steps alone, never on
which worker was faster: the same options and seed propose the same points. Must not know the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session

from app.job_options import ResolvedOptions
from app.job_states import StepKind, StepState, TrialState
from app.repositories import jobs, steps
from app.tables import Job, Step, Trial

FEWEST_KNOWN = 8
"""Scored trials, the base included, from which points are proposed while others train. With fewer, each one counts for
more than the seconds of waiting."""
_OPEN = frozenset({StepState.ready, StepState.claimed})


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of a job's trials.

    Args:
        any_open: whether trials are still to be trained.
        settled: steps whose trials a plan looks at while others are open; empty: it has to wait for all.
    """

    any_open: bool
    settled: frozenset[int]

    @property
    def may_plan(self) -> bool:
        return bool(self.settled) or not self.any_open


def look(evaluate_steps: Sequence[Step], trials: Sequence[Trial], ahead: int) -> Outlook:
    """What may be planned from.

    Args:
        evaluate_steps: the job's, in the order they were made.
        ahead: how many of the last steps need not have ended: as many as may run at once.
    """
    any_open = any(step.state in _OPEN for step in evaluate_steps)
    earlier = evaluate_steps[:-ahead]
    settled = frozenset(step.id or 0 for step in earlier)
    known = sum(trial.state == TrialState.succeeded and trial.step_id in settled for trial in trials)
    if known < FEWEST_KNOWN or any(step.state in _OPEN for step in earlier):
        settled = frozenset()
    return Outlook(any_open, settled)


def plan_when_due(session: Session, job: Job, trials: Sequence[Trial], round: int) -> None:
    """Make a plan step due if enough is known and none is open."""
    if any(steps.open_steps(session, job, kind) for kind in (StepKind.plan, StepKind.publish)):
        return
    ahead = ResolvedOptions(**job.options).parallel_steps
    if look(steps.of_kind(session, job, StepKind.evaluate), trials, ahead).may_plan:
        jobs.add_step(session, job, StepKind.plan, round)
