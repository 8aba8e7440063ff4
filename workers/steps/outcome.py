"""What all three kinds of step share: their signature, and what they give back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from sqlmodel import Session

from app.repositories.tallies import Phase
from app.tables import Job, Step
from workers.context import Context


class Outcome(Protocol):
    """What a step found, as plain data."""

    @property
    def seconds(self) -> Mapping[Phase, float]:
        """What it spent its time on."""

    def record(self, session: Session, job: Job) -> None:
        """Write the results and the steps that follow, in the transaction that ended the step."""

    def discard(self, context: Context, job: Job) -> None:
        """Remove what was put outside the database and is named in no row: called when the job is over."""


Work = Callable[[Context, Job, Step, Callable[[], bool]], Outcome]
"""A step's work; its last argument tells when to stop: the lease is lost or the worker is leaving.

Raises TrainingStoppedError when it did stop.
"""
