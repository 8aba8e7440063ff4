"""Jobs: made with their first step, moved only as the states allow, followed without gaps."""

from __future__ import annotations

import itertools
import threading

import pytest
from sqlalchemy import text
from sqlmodel import Session, select

from app.database import Database
from app.errors import InvalidTransitionError, JobNotFoundError, UserNotFoundError
from app.job_options import ResolvedOptions
from app.job_states import FINAL, TRANSITIONS, JobStatus, StepKind, StepState, TrialState
from app.repositories import events, jobs, trials, users
from app.tables import Event, Job, Step, now
from tests.app.test_database import run_at_once
from tests.support.records import add_job, add_trials, add_user, options


def statuses_told(session: Session, job: Job) -> list[str]:
    told = events.events_after(session, job.tenant_id, job.id, 0, 100)
    return [event.data["status"] for event in told if event.kind == "status"]


def steps_of(session: Session, job: Job) -> list[Step]:
    return list(session.exec(select(Step).where(Step.job_id == job.id).order_by(Step.id)))  # type: ignore[arg-type]


def in_status(session: Session, status: JobStatus) -> Job:
    """A new job brought to `status` by the shortest way there is."""
    ways = {
        JobStatus.queued: [],
        JobStatus.succeeded: [JobStatus.publishing, JobStatus.succeeded],
    }
    job = add_job(session)
    for step in ways.get(status, [status]):
        jobs.set_status(session, job, step)
    return job


def test_a_new_job_is_queued_with_one_plan_step_due_now_and_its_options(database: Database) -> None:
    with database.write() as session:
        job = add_job(session)
    with database.read() as session:
        kept = jobs.get_job(session, "t", job.id)
        assert kept.status is JobStatus.queued
        assert ResolvedOptions.model_validate(kept.options) == options()
        (step,) = steps_of(session, job)
        assert (step.kind, step.state, step.attempt, step.sends) == (StepKind.plan, StepState.ready, 0, 0)
        assert step.send_after <= now()
        assert statuses_told(session, job) == ["queued"]


def test_a_job_needs_a_user(database: Database) -> None:
    with database.write() as session, pytest.raises(UserNotFoundError):
        jobs.create_job(session, "t", "nobody", options())


def test_an_unknown_job_is_named(database: Database) -> None:
    with database.read() as session, pytest.raises(JobNotFoundError, match="job_none"):
        jobs.get_job(session, "t", "job_none")


def test_a_job_goes_only_where_the_states_allow(database: Database) -> None:
    with database.write() as session:
        for current, following in itertools.product(JobStatus, repeat=2):
            job = in_status(session, current)
            told = statuses_told(session, job)
            if following in TRANSITIONS[current]:
                jobs.set_status(session, job, following)
                assert statuses_told(session, job) == [*told, following.value]
                assert (job.finished_at is not None) == (following in FINAL)
            else:
                with pytest.raises(InvalidTransitionError, match=f"is {current.value}"):
                    jobs.set_status(session, job, following)
                assert (job.status, statuses_told(session, job)) == (current, told)


def test_a_job_starts_with_its_first_work_and_once(database: Database) -> None:
    with database.write() as session:
        job = add_job(session)
        jobs.set_status(session, job, JobStatus.paused)
        jobs.set_status(session, job, JobStatus.queued)
        assert job.started_at is None
        jobs.set_status(session, job, JobStatus.planning)
        started = job.started_at
        assert started is not None
        jobs.set_status(session, job, JobStatus.evaluating)
        assert job.started_at == started


def test_a_status_is_judged_by_what_the_job_is_now_not_by_what_was_read(database: Database) -> None:
    with database.write() as session:
        job = add_job(session)
    with database.read() as session:
        stale = jobs.get_job(session, "t", job.id)
    with database.write() as session:
        jobs.cancel_job(session, jobs.get_job(session, "t", job.id))
    with database.write() as session:
        session.add(stale)
        assert stale.status is JobStatus.queued
        with pytest.raises(InvalidTransitionError, match="is cancelled"):
            jobs.set_status(session, stale, JobStatus.planning)


def test_changes_not_yet_written_survive_a_change_of_status(database: Database) -> None:
    with database.write() as session:
        job = in_status(session, JobStatus.publishing)
        job.report = {"winner": 3}
        jobs.set_status(session, job, JobStatus.succeeded)
    with database.read() as session:
        assert jobs.get_job(session, "t", job.id).report == {"winner": 3}


def test_cancelling_ends_everything_that_waits_or_runs_and_keeps_what_is_done(database: Database) -> None:
    with database.write() as session:
        job, another = add_job(session), add_job(session)
        tried = add_trials(session, job, 3)
        untouched = add_trials(session, another, 1)
        plan, evaluate = steps_of(session, job)
        plan.state, evaluate.state, evaluate.owner, evaluate.attempt = StepState.done, StepState.claimed, "w", 1
        tried[0].state = TrialState.succeeded
        jobs.cancel_job(session, job)
    with database.read() as session:
        assert jobs.get_job(session, "t", job.id).status is JobStatus.cancelled
        assert [step.state for step in steps_of(session, job)] == [StepState.done, StepState.cancelled]
        assert [trial.state for trial in trials.trials_of(session, "t", job.id)] == [
            TrialState.succeeded,
            TrialState.cancelled,
            TrialState.cancelled,
        ]
        assert [step.state for step in steps_of(session, another)] == [StepState.ready, StepState.ready]
        assert trials.trials_of(session, "t", another.id) == untouched


def test_a_job_untouched_by_a_worker_is_found_and_one_begun_is_not(database: Database) -> None:
    with database.write() as session:
        add_user(session)
        assert jobs.queued_job(session, "t", "u") is None
        job = add_job(session)
        assert jobs.queued_job(session, "t", "u") == jobs.Waiting(job, None)
        assert jobs.queued_job(session, "t", "another") is None
        # Begun, paused and resumed: queued again, but its split is fixed.
        steps_of(session, job)[0].attempt = 1
        assert jobs.queued_job(session, "t", "u") is None
        later = add_job(session)
        assert jobs.queued_job(session, "t", "u") == jobs.Waiting(later, job.id)
        jobs.cancel_job(session, later)
        assert jobs.queued_job(session, "t", "u") is None


def test_a_queued_job_that_a_worker_is_beginning_is_not_waited_for(postgres_url: str) -> None:
    database = Database(postgres_url)
    with database.write() as session:
        job = add_job(session)
    with database.write() as worker:
        jobs.lock_job(worker, jobs.get_job(worker, "t", job.id))
        with database.write() as session:
            assert jobs.queued_job(session, "t", "u") is None
    database.dispose()


def test_jobs_are_listed_newest_first_by_user_and_status(database: Database) -> None:
    with database.write() as session:
        made = [add_job(session, user_id=user_id) for user_id in ("a", "b", "a")]
        jobs.cancel_job(session, made[0])

        def found(**wanted: object) -> list[str]:
            return [job.id for job in jobs.page_jobs(session, "t", limit=10, **wanted).items]  # type: ignore[arg-type]

        ids = [job.id for job in made]
        assert found() == ids[::-1]
        assert found(user_id="a") == [ids[2], ids[0]]
        assert found(status=JobStatus.queued) == [ids[2], ids[1]]
        assert found(user_id="a", status=JobStatus.cancelled) == [ids[0]]
        assert found(user_id="nobody") == []


def test_trials_come_by_number(database: Database) -> None:
    with database.write() as session:
        job = add_job(session)
        made = add_trials(session, job, 12)
        assert [trial.number for trial in trials.trials_of(session, "t", job.id)] == list(range(12))
        assert trials.trials_of(session, "t", "job_none") == []
        assert len(made) == 12


def test_a_deleted_job_takes_no_more_events_and_no_status(database: Database) -> None:
    with database.write() as session:
        job = add_job(session)
    with database.write() as session:
        users.delete_user(session, "t", "u")
    for act in (
        lambda session: events.append(session, job, "progress", {}),
        lambda session: jobs.set_status(session, job, JobStatus.planning),
    ):
        with database.write() as session, pytest.raises(JobNotFoundError, match="was deleted"):
            act(session)


def test_events_come_in_order_after_the_one_seen_last(database: Database) -> None:
    with database.write() as session:
        job, another = add_job(session), add_job(session)
        for number in range(5):
            events.append(session, job, "trial", {"number": number})
            events.append(session, another, "trial", {"number": -1})
    with database.read() as session:
        everything = events.events_after(session, "t", job.id, 0, 100)
        assert [event.data.get("number") for event in everything] == [None, 0, 1, 2, 3, 4]
        assert [event.id for event in everything] == sorted(event.id for event in everything if event.id)
        assert events.events_after(session, "t", job.id, everything[3].id or 0, 1) == [everything[4]]
        assert events.events_after(session, "t", job.id, everything[-1].id or 0, 10) == []


def test_a_follower_misses_no_event_of_writers_at_once(database: Database) -> None:
    with database.write() as session:
        job = add_job(session)
    seen: list[Event] = []

    def write() -> None:
        for _ in range(15):
            with database.write() as session:
                events.append(session, job, "progress", {})

    def follow() -> None:
        while len(seen) < 46:
            with database.read() as session:
                seen.extend(events.events_after(session, "t", job.id, seen[-1].id or 0 if seen else 0, 7))

    run_at_once(write, write, write, follow)
    with database.read() as session:
        assert seen == events.events_after(session, "t", job.id, 0, 100)


def test_an_event_is_never_seen_before_an_earlier_one(postgres_url: str) -> None:
    """PostgreSQL gives ids before the commit: without a lock, a follower would see the second and never the first."""
    database = Database(postgres_url)
    with database.write() as session:
        job = add_job(session)
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def second_writer() -> None:
        with database.write() as session:
            events.append(session, job, "progress", {"writer": "second"})

    with database.write() as first:
        events.append(first, job, "progress", {"writer": "first"})
        thread = threading.Thread(target=second_writer)
        thread.start()
        while thread.is_alive():
            # A transaction of its own for each look: within one, PostgreSQL's activity view stands still.
            with database.read() as session:
                if session.connection().execute(waiting).scalar_one():
                    break
            thread.join(0.01)
        with database.read() as session:
            assert [event.kind for event in events.events_after(session, "t", job.id, 0, 10)] == ["status"]
    thread.join()
    with database.read() as session:
        told = events.events_after(session, "t", job.id, 0, 10)
    assert [event.data.get("writer") for event in told] == [None, "first", "second"]
    database.dispose()
