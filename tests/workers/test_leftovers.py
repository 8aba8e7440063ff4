"""What killed workers left in the store: found by the note they made before, and erased when nobody can need it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.database import Database
from app.job_states import StepKind
from app.repositories import jobs, steps, users, versions
from app.settings import Settings
from app.tables import Job, Step, Version, now
from tests.adapters_store.stacks import provenance, random_stack
from tests.support.records import add_job
from tests.workers.helpers import stored
from workers.context import Context
from workers.leftovers import announce, sweep


@pytest.fixture
def context(settings: Settings, database_url: str) -> Iterator[Context]:
    """A worker that trains nothing, on each kind of database."""
    made = Context(settings.model_copy(update={"database_url": database_url}))
    yield made
    made.database.dispose()


def publishing(database: Database, user_id: str = "u") -> tuple[Job, Step]:
    """A job of the user whose publish step a worker has just claimed."""
    with database.write() as session:
        job = add_job(session, user_id=user_id)
        step = jobs.add_step(session, job, StepKind.publish)
        held = steps.claim(session, step.id or 0, "killed", 30.0)
        assert held is not None
        return steps.hold(session, held)


def leave(context: Context, job: Job, step: Step, seed: int = 0) -> str:
    """What a worker does before it is killed: it writes a version and records nothing."""
    kept = context.store.publish(
        job.tenant_id, job.user_id, random_stack(seed=seed), provenance(), lambda path: announce(context, step, path)
    )
    return kept.path


def cancel(database: Database, job: Job) -> None:
    with database.write() as session:
        jobs.cancel_job(session, jobs.get_job(session, job.tenant_id, job.id))


def test_what_a_killed_worker_left_is_erased_once_its_job_is_over(context: Context) -> None:
    job, step = publishing(context.database)
    path = leave(context, job, step)
    assert sweep(context) == []
    assert any(path in name for name in stored(context.settings))
    cancel(context.database, job)
    assert sweep(context) == [path]
    assert stored(context.settings) == []
    assert sweep(context) == []


def test_each_attempt_of_a_step_may_have_left_another_folder(context: Context) -> None:
    job, step = publishing(context.database)
    first = leave(context, job, step)
    with context.database.write() as session:
        steps.release_expired(session, now().replace(year=9000), 5)
        assert steps.claim(session, step.id or 0, "another", 30.0) is not None
    with pytest.raises(steps.LeaseLostError):
        leave(context, job, step, seed=1)
    with context.database.read() as session:
        again = session.get_one(Step, step.id)
    second = leave(context, job, again, seed=2)
    cancel(context.database, job)
    assert sorted(sweep(context)) == sorted([first, second])
    assert stored(context.settings) == []


def test_nothing_is_erased_while_a_job_of_the_user_may_be_publishing_the_very_same(context: Context) -> None:
    job, step = publishing(context.database)
    path = leave(context, job, step)
    cancel(context.database, job)
    later, _ = publishing(context.database)
    other, others_step = publishing(context.database, "somebody else")
    others = leave(context, other, others_step)
    cancel(context.database, other)
    assert sweep(context) == [others]
    cancel(context.database, later)
    assert sweep(context) == [path]


def test_a_version_that_a_row_names_stays(context: Context) -> None:
    job, step = publishing(context.database)
    path = leave(context, job, step)
    with context.database.write() as session:
        row = Version(
            id=path.rpartition("/")[2],
            tenant_id=job.tenant_id,
            user_id=job.user_id,
            path=path,
            layers="10",
            n=2,
            r=8,
            base_digest="b" * 64,
        )
        versions.add_version(session, row)
    cancel(context.database, job)
    kept = stored(context.settings)
    assert sweep(context) == []
    assert stored(context.settings) == kept != []
    with context.database.read() as session:
        assert session.get_one(Step, step.id).leaves is None


def test_of_a_user_who_was_deleted_nothing_is_looked_for(context: Context) -> None:
    job, step = publishing(context.database)
    leave(context, job, step)
    with context.database.write() as session:
        users.delete_user(session, job.tenant_id, job.user_id)
        context.store.erase_user(job.tenant_id, job.user_id)
    assert sweep(context) == []
    assert stored(context.settings) == []
