"""Makers for the worker tests: a person with a small history, a job, and running a job's steps in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlmodel import select

from app.database import Database
from app.job_options import JobOptions
from app.job_states import StepKind, TrialState
from app.repositories import history, jobs, users, waiting
from app.settings import Settings
from app.tables import Event, Job, Step, Trial, Version, now
from engine.history import Sample
from tests.support.servers import PostgresServer
from workers.context import Context
from workers.runner import run_step

TENANT = "acme"
USER = "ada"
_START = datetime(2025, 1, 1, tzinfo=UTC)
_TOPICS = ["tea", "rain", "bread", "chess", "trains", "moss", "maps"]


def samples(count: int = 20, *, unlike: str = "") -> list[Sample]:
    """`count` short pairs in time order, all different; `unlike` makes them different from another call's."""
    return [
        Sample(
            f"{unlike}What about {_TOPICS[i % len(_TOPICS)]} on day {i}?",
            f"{unlike}I like {_TOPICS[i % len(_TOPICS)]}, as always.",
            _START + timedelta(days=i),
        )
        for i in range(count)
    ]


def add_person(database: Database, pairs: list[Sample] | None = None, user_id: str = USER) -> None:
    with database.write() as session:
        users.ensure_user(session, TENANT, user_id, "Keeps a garden.")
        history.add_samples(session, TENANT, user_id, samples() if pairs is None else pairs, 1000)


def add_job(database: Database, settings: Settings, user_id: str = USER, **options: Any) -> Job:
    """A queued job as the API commits it, nothing sent. By default it tries the base and the default LoRA only."""
    chosen = JobOptions(**({"trials": 2, "epochs": 1, "seed": 7} | options)).resolve(settings)
    with database.write() as session:
        return jobs.create_job(session, TENANT, user_id, chosen)


def due(database: Database) -> list[int]:
    """Ids of the steps the broker would be rung for now."""
    with database.read() as session:
        return [step.id or 0 for step in waiting.due(session, now() + timedelta(days=1), 100)]


def run_next(context: Context) -> bool:
    """Run one due step in this process; False if none is due."""
    found = due(context.database)
    return bool(found) and run_step(context, found[0])


def run_all(context: Context) -> None:
    """Run steps until none is due."""
    while run_next(context):
        pass


def run_until(context: Context, kind: StepKind) -> int:
    """Run steps up to the first due one of this kind; its id."""
    while True:
        (first, *_) = due(context.database)
        with context.database.read() as session:
            step = session.get(Step, first)
        assert step is not None
        if step.kind == kind:
            return first
        assert run_step(context, first)


def job_now(database: Database, job: Job) -> Job:
    with database.read() as session:
        return jobs.get_job(session, job.tenant_id, job.id)


def trials_now(database: Database, job: Job) -> list[Trial]:
    with database.read() as session:
        return list(session.exec(select(Trial).where(Trial.job_id == job.id).order_by(Trial.number)))  # type: ignore[arg-type]


def steps_now(database: Database, job: Job) -> list[Step]:
    with database.read() as session:
        return list(session.exec(select(Step).where(Step.job_id == job.id).order_by(Step.id)))  # type: ignore[arg-type]


def events_now(database: Database, job: Job, kind: str) -> list[dict[str, Any]]:
    with database.read() as session:
        rows = session.exec(select(Event).where(Event.job_id == job.id, Event.kind == kind).order_by(Event.id))  # type: ignore[arg-type]
        return [row.data for row in rows]


def versions_now(database: Database) -> list[Version]:
    with database.read() as session:
        return list(session.exec(select(Version)))


def stored(settings: Settings) -> list[str]:
    """Every file the store holds, those written aside too."""
    root = settings.data_dir / "store"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def assert_only_versions_are_stored(settings: Settings, database: Database) -> None:
    """The store holds the folders of the versions that rows name, and nothing else."""
    assert {path.rpartition("/")[0] for path in stored(settings)} == {row.path for row in versions_now(database)}


def assert_ended_well(database: Database, job: Job, trials: int = 2) -> None:
    """The job succeeded, and each of its trials ran exactly once."""
    ended = job_now(database, job)
    assert ended.status == "succeeded", ended.error
    assert [trial.number for trial in trials_now(database, job)] == list(range(trials))
    assert {trial.state for trial in trials_now(database, job)} == {TrialState.succeeded}
    told = [event["number"] for event in events_now(database, job, "trial")]
    assert sorted(told) == list(range(trials))
    assert {step.state for step in steps_now(database, job)} == {"done"}


@contextmanager
def cut_off(server: PostgresServer, database: Database) -> Iterator[None]:
    """A PostgreSQL database that is away for the length of the block, its open connections cut."""
    name = database.url.database
    server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    try:
        yield
    finally:
        allow(server, database)


def allow(server: PostgresServer, database: Database) -> None:
    """Let it be reached again."""
    server.execute(f"ALTER DATABASE {database.url.database} ALLOW_CONNECTIONS true")
