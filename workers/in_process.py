"""A whole job in this process: its steps, with plans and training beside, as a worker runs them.

For those who measure a job: they need neither broker nor dispatcher, but the very steps. Must not know what for.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from app.job_states import FINAL, JobStatus, StepKind
from app.repositories import jobs, steps, waiting
from app.repositories.clock import database_now
from app.tables import Job
from workers.beside import work
from workers.context import Context

_LOOK_SECONDS = 0.01


def run_job(
    context: Context, job: Job, *, until: StepKind | None = None, on_step: Callable[[], None] = lambda: None
) -> JobStatus:
    """Run a job's steps until it ends; a step that a process died in is made again once its lease has run out.

    Args:
        until: a kind of step before which to stop.
        on_step: called after each step.
    """
    while True:
        with context.database.read() as session:
            present, moment = jobs.get_job(session, job.tenant_id, job.id), database_now(session)
            due = [s for s in waiting.due(session, moment, 100) if s.job_id == job.id]
            expired = not due and steps.any_expired(session, moment)
        if present.status in FINAL or (until is not None and any(step.kind == until for step in due)):
            return present.status
        if expired:
            # Left by a process that died; here is no dispatcher to see it.
            with context.database.write() as session:
                steps.release_expired(session, moment, context.settings.max_attempts)
        if not due:
            # A plan beside may be about to make the next one due.
            time.sleep(_LOOK_SECONDS)
            continue
        # Training first: what is to be planned is planned beside it.
        first = min(due, key=lambda step: step.kind != StepKind.evaluate)
        work(context, first.id or 0)
        on_step()
