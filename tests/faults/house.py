"""A whole service that is hurt over and over: two APIs and three workers on one PostgreSQL, one Redis and one store.

Sends histories and remembers what was acknowledged. Knows how to hurt and to mend, not what must hold.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx
import psutil
from celery import Celery
from sqlmodel import col, func, select

from adapters_store.store import AdapterStore
from app.database import Database
from app.job_states import FINAL, StepState
from app.settings import Settings
from app.tables import Job, Step
from tests.faults.invariants import Found, look_meanwhile, look_over, processes_of
from tests.support.keys import AUTH
from tests.support.servers import PostgresServer, RedisServer
from tests.workers.helpers import samples
from tests.workers.processes import ApiProcess, ServiceProcess, WorkerProcess

PATIENCE = 300.0
LEASE_SECONDS = 5.0
_JOB = {"trials": 4, "epochs": 1, "activate": "always"}
_PAUSE_SECONDS = 0.05
_UNFINISHED = 4
"""Jobs that are always under way, so that a fault finds something to hurt."""


class House:
    """Two APIs, three workers, and what they share. Enter it to start everything; on leaving, everything is killed."""

    def __init__(
        self, settings: Settings, postgres: PostgresServer, redis: RedisServer, moments: random.Random
    ) -> None:
        self.postgres, self.redis, self.moments = postgres, redis, moments
        self.settings = settings
        self.data_dir = settings.data_dir
        logs = settings.data_dir / "logs"
        logs.mkdir(parents=True)
        # These APIs answer no queries: without a base they start in a moment.
        without_base = settings.model_copy(update={"base_model": str(settings.data_dir / "no-model-here")})
        self.apis = [ApiProcess(without_base, logs / f"api-{number}.log") for number in range(2)]
        self.workers = [WorkerProcess(settings, logs / f"worker-{number}.log") for number in range(3)]
        self.database = Database(settings.resolved_database_url)
        self.store = AdapterStore.open(settings.resolved_store_url)
        self.acknowledged: dict[str, set[str]] = defaultdict(set)
        self.faults: Counter[str] = Counter()
        self.outlived: list[str] = []
        self._broker = Celery(broker=settings.broker_url, set_as_current=False)
        self._people = 0

    # Sending

    def send(self, user_id: str, number: int, api: ApiProcess, *, personalize: bool = False) -> bool:
        """Send one more part of a user's history; whether the service said that it has it."""
        given = samples(20 if personalize else 2, unlike=f"{user_id} {number}: ")
        body = {
            "samples": [{"query": s.query, "response": s.response} for s in given],
            "personalize": personalize,
            **({"options": {**_JOB, "seed": number + 1}} if personalize else {}),
        }
        headers = AUTH | {"Idempotency-Key": f"{user_id}-{number}"}
        try:
            path = f"{api.url}/v1/users/{user_id}/history"
            answer = httpx.post(path, json=body, headers=headers, timeout=30, trust_env=False)
        except httpx.TransportError:
            return False
        if answer.status_code >= 300:
            # Refused, or a part of the service is away: nobody was told that it was kept.
            assert answer.status_code == 503, answer.text
            return False
        self.acknowledged[user_id] |= {sample.query for sample in given}
        return True

    def keep_busy(self) -> None:
        """See to it that jobs are under way, by asking again until the service has taken them."""
        while self.unfinished() < _UNFINISHED:
            self._people += 1
            deadline = time.monotonic() + PATIENCE
            while not self.send(f"person-{self._people}", 0, self.moments.choice(self.apis), personalize=True):
                assert time.monotonic() < deadline, self.logs()
                self.mend()

    @contextmanager
    def somebody_sending(self) -> Iterator[None]:
        """For the length of the block, small parts of a history go to the APIs in turn, whatever they answer."""
        stop, user_id = threading.Event(), f"writer-{sum(self.faults.values())}"

        def send() -> None:
            number = 0
            while not stop.wait(_PAUSE_SECONDS):
                number += 1
                self.send(user_id, number, self.apis[number % 2])

        sender = threading.Thread(target=send)
        sender.start()
        try:
            yield
        finally:
            stop.set()
            sender.join(PATIENCE)

    # Hurting

    def hurt(self, name: str, fault: Callable[[], None]) -> None:
        """One round: work is under way, a random moment passes, the fault happens, and what is broken is mended."""
        began = time.monotonic()
        self.keep_busy()
        self.wait_until(lambda: self.held() > 0)
        with self.somebody_sending():
            time.sleep(self.moments.uniform(0.0, 1.5))
            fault()
            self.faults[name] += 1
            time.sleep(self.moments.uniform(0.0, 0.5))
            self.mend()
        found = look_meanwhile(self.database, self.store, self.acknowledged)
        assert found == Found(), f"after a round of {name}: {found}"
        print(f"{name}: a round of {time.monotonic() - began:.1f} s", flush=True)

    def kill_api(self) -> None:
        self.moments.choice(self.apis).kill()

    def kill_worker(self) -> None:
        """The process that works, as the system does when memory runs out. What it started has to end with it."""
        worker = self.moments.choice(self.workers)
        # One that was killed a moment ago is started anew first.
        self.wait_until(lambda: bool(self._below(worker)))
        below = self._below(worker)
        for process in below:
            with suppress(psutil.Error):
                if process.ppid() == worker.pid:
                    process.kill()
        self._see_end(below)

    def kill_dispatcher(self) -> None:
        """The process that dispatches, which what works must not outlive."""
        worker = self.moments.choice(self.workers)
        below = self._below(worker)
        os.kill(worker.pid, signal.SIGKILL)
        self._see_end(below)

    def kill_machine(self) -> None:
        """All processes of a worker."""
        self.moments.choice(self.workers).kill()

    def kill_redis(self) -> None:
        self.redis.kill()

    def empty_redis(self) -> None:
        self.redis.flush()

    def restart_postgres(self) -> None:
        self.postgres.stop()
        time.sleep(self.moments.uniform(0.0, 1.0))
        self.postgres.start()

    def cut_connections(self) -> None:
        name = self.database.url.database
        self.postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    def send_messages_again(self) -> None:
        """Every step's, those of steps long over too: three times each, in any order."""
        with self.database.read() as session:
            ids = [step_id or 0 for step_id in session.exec(select(Step.id))] * 3
        self.moments.shuffle(ids)
        for step_id in ids:
            self._broker.send_task("milp.step", args=[step_id], queue="milp", ignore_result=True)

    def hang_worker(self) -> None:
        """Stop a working process for longer than a lease, without ending it; then let it go on, if it still can."""
        hung = self._below(self.moments.choice(self.workers))
        for process in hung:
            with suppress(psutil.Error):
                process.suspend()
        time.sleep(self.moments.uniform(1.0, 2.0) * LEASE_SECONDS)
        for process in hung:
            with suppress(psutil.Error):
                process.resume()

    def stop_worker(self) -> None:
        """As an operator does."""
        self.moments.choice(self.workers).stop()

    # Mending

    def mend(self) -> None:
        """Start whatever does not run."""
        self.postgres.start()
        self.redis.start()
        for process in (*self.apis, *self.workers):
            if not process.running:
                process.kill()
                process.start()
        for api in self.apis:
            api.wait_until_alive()

    def unfinished(self) -> int:
        with self.database.read() as session:
            return session.exec(select(func.count(col(Job.id))).where(col(Job.status).not_in(FINAL))).one()

    def held(self) -> int:
        """Steps that a worker is at."""
        with self.database.read() as session:
            return session.exec(select(func.count(col(Step.id))).where(Step.state == StepState.claimed)).one()

    def wait_until(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.05)

    def come_to_rest(self) -> float:
        """Wait until every job has ended; the seconds that took."""
        began = time.monotonic()
        self.mend()
        self.wait_until(lambda: self.unfinished() == 0)
        return time.monotonic() - began

    def look_over(self, sweep: Callable[[], object]) -> Found:
        """Stop everything, and look whether all holds. `sweep` erases leftovers."""
        for process in (*self.apis, *self.workers):
            process.stop()
        sweep()
        # Who lost its parent has a moment to notice.
        deadline = time.monotonic() + 15
        while processes_of(self.data_dir) and time.monotonic() < deadline:
            time.sleep(0.1)
        found = look_over(self.database, self.store, self.data_dir, self.acknowledged)
        found.orphans += self.outlived
        return found

    def logs(self) -> str:
        """The ends of all logs."""
        folder = self.data_dir / "logs"
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in sorted(folder.iterdir())
        )

    def __enter__(self) -> House:
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.apis, *self.workers):
            process.kill()
        for left in processes_of(self.data_dir):
            with suppress(psutil.Error):
                left.kill()
        self._broker.close()
        self.database.dispose()

    def _see_end(self, processes: list[psutil.Process]) -> None:
        """Remember those that do not end by themselves."""
        _, alive = psutil.wait_procs(processes, timeout=30)
        self.outlived += [str(process) for process in alive]

    def _below(self, process: ServiceProcess) -> list[psutil.Process]:
        try:
            return psutil.Process(process.pid).children(recursive=True)
        except psutil.Error:
            return []
