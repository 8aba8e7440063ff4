"""The service under load: as `milp up` starts it, on PostgreSQL, with users who have histories, jobs and some versions.

Must not know who asks it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import psycopg

from adapters_store.store import AdapterStore
from app.database import Database
from app.embedded.service import EmbeddedService
from app.job_options import JobOptions
from app.repositories import history, jobs, users
from app.settings import Settings
from benchmarks.published import publish_generated
from engine.base import load_base
from engine.history import Sample
from tests.support.servers import PostgresServer

TENANT = "default"
SAMPLES = 20
VERSIONS = 64
"""Users who have an active version: twice as many as the bank has places."""
DATABASE = "load"
_AT_ONCE = 100
"""Users made in one transaction."""


@dataclass(frozen=True)
class Running:
    """A service at work."""

    settings: Settings
    url: str
    key: str
    database: Database
    postgres: PostgresServer

    def processes(self) -> dict[str, list[psutil.Process]]:
        """The API's process, and the worker's: its main one and all that it has started."""
        names = {"app.main:create_app": "API", "workers.celery_app": "worker"}
        found: dict[str, list[psutil.Process]] = {name: [] for name in names.values()}
        for child in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):  # of those who ask, some end just now
                for part, name in names.items():
                    if part in child.cmdline():
                        found[name] = [child, *child.children(recursive=True)]
        return found

    def engine_starts(self) -> int:
        """How often the process that answers was started."""
        figures = httpx.get(f"{self.url}/metrics", timeout=60, trust_env=False).text
        (line,) = [line for line in figures.splitlines() if line.startswith("milp_engine_starts_total")]
        return int(float(line.split()[-1]))

    def connections(self) -> int:
        """Connections to the database that are not this process's."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        folder = str(self.database.url.query["host"])
        with psycopg.connect(host=folder, user="postgres", dbname="postgres", autocommit=True) as connection:
            row = connection.execute(query, (DATABASE,)).fetchone()
        return int(row[0]) if row else 0


@contextmanager
def running() -> Iterator[Running]:
    """A service of its own, stopped at the end with all that belongs to it."""
    with (
        tempfile.TemporaryDirectory(prefix="milp-load-pg-", ignore_cleanup_errors=True) as postgres_folder,
        tempfile.TemporaryDirectory(prefix="milp-load-") as folder,
    ):
        postgres = PostgresServer(Path(postgres_folder))
        postgres.start()
        try:
            postgres.execute(f"CREATE DATABASE {DATABASE}")
            settings = Settings(
                _env_file=None,
                data_dir=Path(folder),
                database_url=postgres.url(DATABASE),
                port=0,
                log_level="warning",
            )
            with EmbeddedService(settings, print) as service:
                database = Database(service.settings.resolved_database_url)
                yield Running(service.settings, service.url, service.api_key, database, postgres)
                database.dispose()
        finally:
            postgres.stop()


def populate(service: Running, count: int) -> list[tuple[str, str]]:
    """So many users with a history and a job that waits, the first of them with a version: user ids and job ids."""
    user_ids = [f"user-{number}" for number in range(count)]
    made = list(zip(user_ids, add_queued_jobs(service, user_ids), strict=True))
    base = load_base(service.settings.base_model, device="cpu", threads=1)
    store = AdapterStore.open(service.settings.resolved_store_url)
    for number in range(min(VERSIONS, count)):
        publish_generated(service.database, store, base, TENANT, made[number][0], number)
    return made


def add_queued_jobs(service: Running, user_ids: Sequence[str], samples: int = SAMPLES) -> list[str]:
    """A history of so many samples for each of these new users, and a job of the smallest kind; the jobs' ids."""
    options, made = JobOptions(trials=2, epochs=1).resolve(service.settings), []
    for first in range(0, len(user_ids), _AT_ONCE):
        with service.database.write() as session:
            for user_id in user_ids[first : first + _AT_ONCE]:
                given = [Sample(f"What about {user_id} {i}?", f"It is well, thank you {i}.") for i in range(samples)]
                users.ensure_user(session, TENANT, user_id, "Likes tea.")
                if given:
                    history.add_samples(session, TENANT, user_id, given, SAMPLES)
                made.append(jobs.create_job(session, TENANT, user_id, options).id)
    return made
