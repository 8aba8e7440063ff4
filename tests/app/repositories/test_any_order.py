"""Jobs and steps moved by workers and users in any order: what has ended stays ended, and no step is done twice."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test
from sqlmodel import Session, col, select

from app.database import Database
from app.errors import InvalidTransitionError
from app.job_states import JobStatus, StepKind, StepState, may_follow
from app.repositories import events, jobs, steps
from app.repositories.clock import database_now
from app.repositories.steps import Claim, LeaseLostError
from app.tables import Job, Step
from tests.support.examples import tried
from tests.support.records import add_job

MOST_ATTEMPTS = 3
AFTER = {StepKind.plan: StepKind.evaluate, StepKind.evaluate: StepKind.publish}
_ENDED = {StepState.done, StepState.failed, StepState.cancelled}
picks = st.integers(0, 99)


class AnyOrder(RuleBasedStateMachine):
    """Two users' jobs, some workers who may be slow or dead, and users who change their minds."""

    database: Database
    claims = Bundle("claims")
    runs = 0

    def __init__(self) -> None:
        super().__init__()
        AnyOrder.runs += 1
        self.tenant = f"t{AnyOrder.runs}"
        self.jobs: list[str] = []
        self.ended_jobs: dict[str, JobStatus] = {}
        self.ended_steps: dict[int, StepState] = {}
        self.attempts: set[tuple[int, int]] = set()

    @rule(user=st.sampled_from(["ann", "bob"]))
    def a_job_is_asked_for(self, user: str) -> None:
        with self.database.write() as session:
            self.jobs.append(add_job(session, self.tenant, user).id)

    @rule(target=claims, pick=picks)
    def a_worker_takes_a_step(self, pick: int) -> Claim | None:
        with self.database.write() as session:
            found = session.exec(select(Step.id).where(Step.tenant_id == self.tenant).order_by(col(Step.id))).all()
            claim = steps.claim(session, found[pick % len(found)] or 0, "worker", 30.0) if found else None
        if claim is not None:
            assert (claim.step_id, claim.attempt) not in self.attempts, "two workers hold one step"
            assert claim.step_id not in self.ended_steps
            self.attempts.add((claim.step_id, claim.attempt))
        return claim

    @rule(claim=claims)
    def a_worker_finishes(self, claim: Claim | None) -> None:
        """Also one whose lease was lost, or who has finished before."""

        def work(session: Session, held: Claim) -> None:
            job = steps.finish(session, held)
            if held.kind == StepKind.publish:
                jobs.set_status(session, job, JobStatus.succeeded)
            else:
                jobs.add_step(session, job, AFTER[held.kind])

        if self._tried(claim, work):
            assert claim is not None
            assert claim.step_id not in self.ended_steps, "a step was done twice"

    @rule(claim=consumes(claims), fails=st.booleans())
    def a_worker_gives_up(self, claim: Claim | None, fails: bool) -> None:
        self._tried(claim, lambda s, held: steps.fail(s, held, "code", "detail") if fails else steps.give_back(s, held))

    @rule()
    def leases_run_out(self) -> None:
        with self.database.write() as session:
            steps.release_expired(session, database_now(session) + timedelta(hours=1), MOST_ATTEMPTS)

    @rule(pick=picks, move=st.sampled_from([jobs.pause_job, jobs.resume_job, jobs.resume_job, jobs.cancel_job]))
    def a_user_moves_a_job(self, pick: int, move: Callable[[Session, Job], None]) -> None:
        if self.jobs:
            with suppress(InvalidTransitionError), self.database.write() as session:
                move(session, jobs.get_job(session, self.tenant, self.jobs[pick % len(self.jobs)]))

    @invariant()
    def what_has_ended_stays_as_it_is(self) -> None:
        with self.database.read() as session:
            now = {job.id: job for job in session.exec(select(Job).where(Job.tenant_id == self.tenant))}
            made = session.exec(select(Step).where(Step.tenant_id == self.tenant)).all()
        assert {key: now[key].status for key in self.ended_jobs} == self.ended_jobs
        self.ended_jobs |= {key: job.status for key, job in now.items() if job.status.is_final}
        states = {step.id or 0: step.state for step in made}
        assert {key: states[key] for key in self.ended_steps} == self.ended_steps
        self.ended_steps |= {key: state for key, state in states.items() if state in _ENDED}
        for step in made:
            if step.job_id in self.ended_jobs:
                assert step.state in _ENDED, "work is left of a job that has ended"
        for key, job in now.items():
            assert (job.finished_at is not None) == (key in self.ended_jobs)

    def teardown(self) -> None:
        """Every status was allowed after the one before."""
        with self.database.read() as session:
            for key in self.jobs:
                told = events.events_after(session, self.tenant, key, 0, 1000)
                statuses = [JobStatus(event.data["status"]) for event in told if event.kind == "status"]
                assert statuses[0] == JobStatus.queued
                assert all(may_follow(before, after) for before, after in pairwise(statuses)), statuses

    def _tried(self, claim: Claim | None, work: Callable[[Session, Claim], None]) -> bool:
        """Whether the worker still held the step; nothing is changed where it did not."""
        if claim is None:
            return False
        try:
            with self.database.write() as session:
                work(session, claim)
        except LeaseLostError:
            return False
        return True


def test_in_whatever_order_what_has_ended_stays_ended_and_no_step_is_done_twice(sqlite_url: str) -> None:
    AnyOrder.database = Database(sqlite_url)
    run_state_machine_as_test(AnyOrder, settings=tried(15))
    AnyOrder.database.dispose()
