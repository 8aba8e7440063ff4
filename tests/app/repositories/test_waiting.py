"""Steps that are due: which ones the broker is rung for, in what order, and how often."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import event, text

from app.database import Database
from app.job_states import JobStatus, StepKind
from app.repositories import jobs, steps, waiting
from app.tables import now
from tests.app.repositories.test_steps import change, claim, claimed, due, finish, new_job, step_now
from tests.support.records import add_job, add_trials


def test_a_paused_jobs_steps_rest_until_it_is_resumed(database: Database) -> None:
    job, step_id = new_job(database)
    change(database, job, jobs.pause_job)
    assert due(database) == []
    assert claim(database, step_id) is None
    change(database, job, jobs.resume_job)
    assert due(database) == [step_id]
    assert claim(database, step_id) is not None


def test_a_users_newer_job_waits_for_the_older_one_and_others_do_not(database: Database) -> None:
    older, first = new_job(database)
    _, second = new_job(database)
    _, other = new_job(database, user_id="someone else")
    assert due(database) == [first, other]
    assert claim(database, first) is not None
    assert due(database) == [other]
    change(database, older, jobs.cancel_job)
    assert due(database) == [second, other]


def test_a_step_is_sent_again_with_growing_pauses_of_a_minute_at_most(database: Database) -> None:
    _, step_id = new_job(database)
    moment, pauses = now(), []
    for _ in range(9):
        with database.write() as session:
            steps.mark_sent(session, step_now(database, step_id), moment)
        pauses.append((step_now(database, step_id).send_after - moment).total_seconds())
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert due(database) == []


def test_two_dispatchers_that_sent_the_same_step_count_as_one(database: Database) -> None:
    _, step_id = new_job(database)
    seen = step_now(database, step_id)
    for _ in range(2):
        with database.write() as session:
            steps.mark_sent(session, seen, now())
    assert step_now(database, step_id).sends == 1


def test_a_step_marked_sent_after_it_was_claimed_is_not_touched(database: Database) -> None:
    _, step_id = new_job(database)
    seen = step_now(database, step_id)
    claim(database, step_id)
    with database.write() as session:
        steps.mark_sent(session, seen, now())
    assert step_now(database, step_id).sends == 0


def test_the_number_of_open_steps_counts_ready_and_claimed_ones_of_a_kind(database: Database) -> None:
    job, held = claimed(database)
    with database.write() as session:
        add_trials(session, job, 1)
        assert steps.open_steps(session, job, StepKind.plan) == 1
        assert steps.open_steps(session, job, StepKind.evaluate) == 1
    finish(database, held)
    with database.read() as session:
        assert steps.open_steps(session, job, StepKind.plan) == 0


def test_a_step_that_the_broker_was_rung_for_may_be_started_at_once_all_the_same(database: Database) -> None:
    _, step_id = new_job(database)
    moment = now()
    with database.write() as session:
        steps.mark_sent(session, step_now(database, step_id), moment)
    with database.read() as session:
        assert waiting.due(session, moment, 10) == []
        plan = waiting.plan_to_make(session, moment)
    assert plan is not None
    assert plan.id == step_id


def test_a_plan_that_begins_a_job_is_made_only_where_nothing_of_another_waits(database: Database) -> None:
    job, held = claimed(database)
    _, other = new_job(database, "another")
    finish(database, held)
    with database.write() as session:
        evaluate = jobs.add_step(session, job, StepKind.evaluate)
        assert [step.id for step in waiting.due(session, now(), 10)] == [evaluate.id, other]
        assert [step.id for step in waiting.due(session, now(), 1)] == [evaluate.id]
        assert waiting.plan_to_make(session, now()) is None
        plan = jobs.add_step(session, job, StepKind.plan, 1)
        assert waiting.plan_to_make(session, now()) == plan
        for step in (evaluate, plan):
            session.delete(step)
        session.flush()
        begins = waiting.plan_to_make(session, now())
        assert begins is not None
        assert begins.id == other


def test_training_is_taken_once_the_broker_was_rung_for_it_so_often_and_the_oldest_first(database: Database) -> None:
    job, held = claimed(database)
    finish(database, held)
    with database.write() as session:
        first, second = (jobs.add_step(session, job, StepKind.evaluate).id or 0 for _ in range(2))
        jobs.add_step(session, job, StepKind.plan, 1)

    def taken(rung: int) -> int | None:
        with database.read() as session:
            found = waiting.training_to_make(session, now(), rung)
        return None if found is None else found.id

    def ring(step_id: int) -> None:
        with database.write() as session:
            steps.mark_sent(session, step_now(database, step_id), now())

    assert (taken(0), taken(1)) == (first, None)
    ring(second)
    # Rung for, it waits for no further ring.
    assert (taken(0), taken(1), taken(2)) == (first, second, None)
    ring(first)
    assert (taken(1), taken(2)) == (first, None)
    ring(second)
    assert taken(2) == second


def test_training_of_a_job_that_rests_is_not_taken(database: Database) -> None:
    job, held = claimed(database)
    finish(database, held)
    with database.write() as session:
        jobs.add_step(session, job, StepKind.evaluate)
        jobs.set_status(session, session.merge(job), JobStatus.paused)
        assert waiting.training_to_make(session, now(), 0) is None


def test_a_step_that_was_given_back_for_later_may_not_be_started_before(database: Database) -> None:
    _, held = claimed(database)
    step_id = held.step_id
    with database.write() as session:
        steps.give_back(session, held, 30.0)
    with database.read() as session:
        assert waiting.plan_to_make(session, now()) is None
        plan = waiting.plan_to_make(session, now() + timedelta(seconds=31))
    assert plan is not None
    assert plan.id == step_id


def test_waiting_steps_of_begun_jobs_are_looked_up_without_passing_over_those_that_begin_one(
    database: Database,
) -> None:
    with database.write() as session:
        for number in range(300):
            add_job(session, user_id=f"user {number}")
        session.connection().execute(text("ANALYZE"))
    plans: list[str] = []
    with database.read() as session:
        connection = session.connection()
        explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "

        def note_plan(_: Any, cursor: Any, statement: str, parameters: Any, *__: Any) -> None:
            if "FROM steps" in statement and not statement.startswith("EXPLAIN"):
                cursor.execute(explain + statement, parameters)
                plans.append("\n".join(str(row) for row in cursor.fetchall()))

        event.listen(connection, "before_cursor_execute", note_plan)
        waiting.due(session, now(), 10)
    assert ["ix_steps_begun" in plan for plan in plans] == [True, False]
