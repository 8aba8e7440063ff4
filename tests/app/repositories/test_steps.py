"""Steps: claimed by exactly one worker, finished only by the one that holds them, never lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlmodel import Session, select

from app.database import Database
from app.errors import JobNotFoundError
from app.job_states import STATUS_OF_STEP, JobStatus, StepKind, StepState, TrialState
from app.repositories import events, jobs, steps, trials, users, waiting
from app.tables import Job, Step, now
from tests.support.records import add_job, add_trials

LATER = timedelta(hours=1)
RACERS = 8


def step_of(session: Session, job: Job, kind: StepKind = StepKind.plan) -> Step:
    return session.exec(select(Step).where(Step.job_id == job.id, Step.kind == kind)).one()


def new_job(database: Database, user_id: str = "u") -> tuple[Job, int]:
    """A queued job and the id of its first step."""
    with database.write() as session:
        job = add_job(session, user_id=user_id)
        return job, step_of(session, job).id or 0


def claim(database: Database, step_id: int, owner: str = "worker") -> steps.Claim | None:
    with database.write() as session:
        return steps.claim(session, step_id, owner, lease_seconds=30.0)


def claimed(database: Database, user_id: str = "u") -> tuple[Job, steps.Claim]:
    job, step_id = new_job(database, user_id)
    held = claim(database, step_id)
    assert held is not None
    return job, held


def finish(database: Database, held: steps.Claim) -> None:
    with database.write() as session:
        steps.finish(session, held)


def expire(database: Database, max_attempts: int = 5) -> list[int]:
    """What the dispatcher does an hour after every worker fell silent."""
    with database.write() as session:
        return list(steps.release_expired(session, now() + LATER, max_attempts))


def due(database: Database) -> list[int]:
    with database.read() as session:
        return [step.id or 0 for step in waiting.due(session, now(), 100)]


def job_now(database: Database, job: Job) -> Job:
    with database.read() as session:
        return jobs.get_job(session, job.tenant_id, job.id)


def step_now(database: Database, step_id: int) -> Step:
    with database.read() as session:
        found = session.get(Step, step_id)
        assert found is not None
        return found


def change(database: Database, job: Job, how: Callable[[Session, Job], None]) -> None:
    with database.write() as session:
        how(session, jobs.get_job(session, job.tenant_id, job.id))


def test_of_workers_racing_for_one_step_exactly_one_wins(database: Database) -> None:
    for race in range(5):
        _, step_id = new_job(database, user_id=f"u{race}")
        start = threading.Barrier(RACERS)

        def run(racer: int, step_id: int = step_id, start: threading.Barrier = start) -> steps.Claim | None:
            own = Database(database.url.render_as_string(hide_password=False))
            start.wait()
            try:
                return claim(own, step_id, f"worker-{racer}")
            finally:
                own.dispose()

        with ThreadPoolExecutor(RACERS) as pool:
            winners = [racer for racer, held in enumerate(pool.map(run, range(RACERS))) if held is not None]
        assert len(winners) == 1
        step = step_now(database, step_id)
        assert (step.state, step.attempt, step.owner) == (StepState.claimed, 1, f"worker-{winners[0]}")


def test_claiming_a_step_shows_in_the_jobs_status(database: Database) -> None:
    job, held = claimed(database)
    assert (held.kind, held.attempt) == (StepKind.plan, 1)
    present = job_now(database, job)
    assert present.status is JobStatus.planning
    assert present.started_at is not None


def test_a_worker_whose_lease_was_taken_cannot_finish_fail_or_give_back(database: Database) -> None:
    job, first = claimed(database)
    assert expire(database) == [first.step_id]
    second = claim(database, first.step_id)
    assert second is not None
    assert second.attempt == 2
    with database.write() as session:
        assert steps.renew(session, first, 30.0) is False
    with pytest.raises(steps.LeaseLostError):
        finish(database, first)
    with pytest.raises(steps.LeaseLostError), database.write() as session:
        steps.fail(session, first, "code", "detail")
    with pytest.raises(steps.LeaseLostError), database.write() as session:
        steps.give_back(session, first)
    assert job_now(database, job).status is JobStatus.planning
    finish(database, second)
    assert step_now(database, first.step_id).state is StepState.done


def test_what_a_worker_records_without_its_lease_is_rolled_back(database: Database) -> None:
    job, held = claimed(database)
    expire(database)

    def record() -> None:
        with database.write() as session:
            jobs.get_job(session, job.tenant_id, job.id).trials_planned = 99
            session.flush()
            steps.finish(session, held)

    with pytest.raises(steps.LeaseLostError):
        record()
    assert job_now(database, job).trials_planned == 0


def test_a_step_is_finished_once(database: Database) -> None:
    _, held = claimed(database)
    finish(database, held)
    with pytest.raises(steps.LeaseLostError):
        finish(database, held)
    assert claim(database, held.step_id) is None


def test_a_renewed_lease_does_not_run_out(database: Database) -> None:
    _, held = claimed(database)
    with database.write() as session:
        assert steps.renew(session, held, 2 * LATER.total_seconds())
    assert expire(database) == []
    with database.read() as session:
        assert not steps.any_expired(session, now() + LATER)
        assert steps.any_expired(session, now() + 3 * LATER)


def test_a_silent_workers_step_is_due_again(database: Database) -> None:
    job, held = claimed(database)
    assert due(database) == []
    with database.write() as session:
        assert steps.release_expired(session, now(), max_attempts=5) == {}
    expire(database)
    step = step_now(database, held.step_id)
    assert (step.state, step.owner, step.lease_until) == (StepState.ready, None, None)
    assert not job_now(database, job).status.is_final


def test_after_as_many_attempts_as_allowed_the_job_is_given_up(database: Database) -> None:
    job, held = claimed(database)
    with database.write() as session:
        add_trials(session, job, 2)
    expire(database, max_attempts=2)
    assert claim(database, held.step_id) is not None
    expire(database, max_attempts=2)
    ended = job_now(database, job)
    assert ended.status is JobStatus.failed
    assert ended.finished_at is not None
    assert ended.error is not None
    assert ended.error["code"] == "gave_up"
    assert "2 times" in ended.error["detail"]
    with database.read() as session:
        assert step_of(session, job).state is StepState.failed
        assert step_of(session, job, StepKind.evaluate).state is StepState.cancelled
        assert {t.state for t in trials.trials_of(session, job.tenant_id, job.id)} == {TrialState.cancelled}
        told = [e.data for e in events.events_after(session, job.tenant_id, job.id, 0, 100) if e.kind == "error"]
        assert told == [ended.error]
    assert claim(database, held.step_id) is None


def test_a_failed_step_fails_its_job_with_code_and_detail(database: Database) -> None:
    job, held = claimed(database)
    with database.write() as session:
        steps.fail(session, held, "history_too_short", "Send more.")
    ended = job_now(database, job)
    assert ended.status is JobStatus.failed
    assert ended.error == {"code": "history_too_short", "detail": "Send more."}
    assert due(database) == []


def test_a_step_given_back_is_due_after_its_pause(database: Database) -> None:
    _, held = claimed(database)
    with database.write() as session:
        steps.give_back(session, held, pause_seconds=60.0)
    assert due(database) == []
    with database.read() as session:
        assert [s.id for s in waiting.due(session, now() + timedelta(seconds=61), 10)] == [held.step_id]


def test_a_step_at_work_finishes_while_its_job_is_paused_and_the_job_stays_paused(database: Database) -> None:
    job, held = claimed(database)
    change(database, job, jobs.pause_job)
    with database.write() as session:
        assert steps.renew(session, held, 30.0)
        present = steps.finish(session, held)
        session.add(Step(tenant_id=present.tenant_id, job_id=present.id, kind=StepKind.evaluate))
    assert job_now(database, job).status is JobStatus.paused
    assert due(database) == []
    change(database, job, jobs.resume_job)
    assert len(due(database)) == 1


@pytest.mark.parametrize("kind", StepKind)
def test_a_job_resumed_while_a_step_is_at_work_says_what_it_does_and_can_end_well(
    database: Database, kind: StepKind
) -> None:
    job, step_id = new_job(database)
    with database.write() as session:
        session.get_one(Step, step_id).kind = kind
    held = claim(database, step_id)
    assert held is not None
    change(database, job, jobs.pause_job)
    change(database, job, jobs.resume_job)
    assert job_now(database, job).status is STATUS_OF_STEP[kind]
    with database.write() as session:
        present = steps.finish(session, held)
        if kind is StepKind.publish:
            jobs.set_status(session, present, JobStatus.succeeded)
    assert step_now(database, step_id).state is StepState.done


def test_a_paused_jobs_silent_worker_loses_its_step_too(database: Database) -> None:
    job, held = claimed(database)
    change(database, job, jobs.pause_job)
    assert expire(database) == [held.step_id]
    assert due(database) == []
    change(database, job, jobs.resume_job)
    assert due(database) == [held.step_id]


def test_a_cancelled_jobs_worker_finds_its_lease_gone(database: Database) -> None:
    job, held = claimed(database)
    change(database, job, jobs.cancel_job)
    with database.write() as session:
        assert steps.renew(session, held, 30.0) is False
    with pytest.raises(steps.LeaseLostError):
        finish(database, held)
    assert expire(database) == []
    assert job_now(database, job).status is JobStatus.cancelled


def test_a_deleted_users_worker_finds_its_lease_gone(database: Database) -> None:
    job, held = claimed(database)
    with database.write() as session:
        users.delete_user(session, job.tenant_id, job.user_id)
    with database.write() as session:
        assert steps.renew(session, held, 30.0) is False
    with pytest.raises(steps.LeaseLostError):
        finish(database, held)
    with pytest.raises(JobNotFoundError):
        job_now(database, job)


def test_progress_is_forgotten_when_its_step_ends_and_other_events_stay(database: Database) -> None:
    job, held = claimed(database)
    with database.write() as session:
        events.append(session, job, "progress", {"steps_done": 1})
        events.append(session, job, "trial", {"number": 0})
    finish(database, held)
    with database.read() as session:
        kinds = [event.kind for event in events.events_after(session, job.tenant_id, job.id, 0, 100)]
    assert kinds == ["status", "status", "trial"]


def test_claims_and_cancellations_at_once_leave_no_step_at_work_on_a_cancelled_job(database: Database) -> None:
    for race in range(5):
        job, step_id = new_job(database, user_id=f"u{race}")
        start = threading.Barrier(2)

        def cancel(job: Job = job, start: threading.Barrier = start) -> None:
            start.wait()
            change(database, job, jobs.cancel_job)

        def take(step_id: int = step_id, start: threading.Barrier = start) -> None:
            start.wait()
            claim(database, step_id)

        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(cancel), pool.submit(take)]:
                done.result()
        assert job_now(database, job).status is JobStatus.cancelled
        assert step_now(database, step_id).state is StepState.cancelled
