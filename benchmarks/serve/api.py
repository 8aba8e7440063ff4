"""What the web service adds to an answer: a real uvicorn process, asked so many times a second for one token.

The time outside the engine is the client's, from the request's first byte to the answer's last, less the engine's own
(benchmarks.serve.timed_app). What the service adds does not depend on the base: it is measured on one that takes next
to nothing, so that requests do not wait for a core that decodes, and on the base itself, at the same rate and at one
that leaves cores free. Beside them a route without model, database or thread: what HTTP costs by itself.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from adapters_store.store import AdapterStore
from app.access.key_text import key_text, secret_digest
from app.database import Database
from app.embedded.child import Child
from app.embedded.service import child_environment, local_url
from app.repositories import api_keys
from app.settings import Settings
from app.tables import ApiKey
from benchmarks.material import tiny_base
from benchmarks.published import publish_generated
from benchmarks.results_file import ROOT, Row, alone, limited
from benchmarks.serve.answers import percentile
from engine.base import Base

PER_SECOND = 100
SLOWLY = 20
"""A rate at which two cores have time to spare: beyond that, answers wait for each other."""
LIMIT_MS = 5.0
TINY = "a tiny base"
USERS = 8
_KEY_ID, _SECRET = f"key_{0:024x}", f"{0:064x}"
"""A key of the database, as clients have: looking it up is part of what the service adds."""
_DURATION = re.compile(rb"engine;dur=([\d.]+)")
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def api_rows(base: Base, queries: Sequence[str], *, seconds: float, repeats: int) -> list[Row]:
    """The service's rows, each repeated."""
    with tempfile.TemporaryDirectory(prefix="milp-bench-") as folder:
        tiny = tiny_base(Path(folder))
        alive, (quick,) = _asked(tiny, queries, [PER_SECOND], seconds, repeats)
    _, found = _asked(base, queries, [PER_SECOND, SLOWLY], seconds, repeats)
    rows = [
        alone(f"/livez, {PER_SECOND} a second: p50", "ms", [median(times) for times in alive]),
        alone(f"/livez, {PER_SECOND} a second: p99", "ms", [percentile(times, 0.99) for times in alive]),
    ]
    rows += _of_answers(f"/responses of {TINY}, {PER_SECOND} a second", quick, LIMIT_MS)
    for rate, timed in zip((PER_SECOND, SLOWLY), found, strict=True):
        rows += _of_answers(f"/responses, {rate} a second", timed)
    return rows


_Timed = list[list[tuple[float, float]]]
"""Of each repeat (seconds in all, milliseconds in the engine) of each answer."""


def _asked(
    base: Base, queries: Sequence[str], rates: Sequence[int], seconds: float, repeats: int
) -> tuple[list[list[float]], list[_Timed]]:
    """Milliseconds of the plain route, repeat by repeat, and what answers took at each rate; one after the other."""
    alive: list[list[float]] = []
    found: list[_Timed] = [[] for _ in rates]
    with _service(base) as address:
        answers = [_post(f"/v1/users/user-{i % USERS}/responses", queries[i % len(queries)]) for i in range(64)]
        plain = [b"GET /livez HTTP/1.1\r\nHost: bench\r\n\r\n"]
        asyncio.run(_Client(*address).ask(answers, 1.0))  # stacks and caches are warm then
        for _ in range(repeats):
            for rate, timed in zip(rates, found, strict=True):
                timed.append(asyncio.run(_Client(*address, rate).ask(answers, seconds)))
            alive.append([1e3 * total for total, _ in asyncio.run(_Client(*address).ask(plain, seconds))])
    return alive, found


def _of_answers(what: str, repeated: _Timed, limit: float | None = None) -> list[Row]:
    outside = [[1e3 * total - inside for total, inside in timed] for timed in repeated]
    name, late = f"{what}: outside the engine, p99", [percentile(times, 0.99) for times in outside]
    return [
        alone(name, "ms", late) if limit is None else limited(name, "ms", late, limit),
        alone(f"{what}: outside the engine, p50", "ms", [median(times) for times in outside]),
        alone(f"{what}: in the engine, p50", "ms", [median(inside for _, inside in timed) for timed in repeated]),
    ]


class RefusedError(Exception):
    """The service answered with an error."""


@dataclass
class _Client:
    """Sends requests at a steady rate, whether or not the ones before are answered; connections are kept."""

    host: str
    port: int
    rate: int = PER_SECOND
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    async def ask(self, requests: Sequence[bytes], seconds: float) -> list[tuple[float, float]]:
        """(seconds in all, milliseconds in the engine) of each answer."""
        began, count = time.perf_counter(), max(1, int(seconds * self.rate))
        tasks = []
        for i in range(count):
            await asyncio.sleep(max(0.0, began + i / self.rate - time.perf_counter()))
            tasks.append(asyncio.create_task(self._one(requests[i % len(requests)])))
        timed = await asyncio.gather(*tasks, return_exceptions=True)
        for _, writer in self.idle:
            writer.close()
            await writer.wait_closed()
        if failed := [one for one in timed if isinstance(one, BaseException)]:
            raise failed[0]
        return [one for one in timed if not isinstance(one, BaseException)]

    async def _one(self, request: bytes) -> tuple[float, float]:
        reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection(self.host, self.port)
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length.group(1)) if length else 0)
        spent = time.perf_counter() - began
        self.idle.append((reader, writer))
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise RefusedError(body.decode())
        engine = _DURATION.search(head)
        return spent, float(engine.group(1)) if engine else 0.0


def _post(path: str, query: str) -> bytes:
    body = json.dumps({"query": query, "max_new_tokens": 1}).encode()
    head = [
        f"POST {path} HTTP/1.1",
        "Host: bench",
        f"Authorization: Bearer {key_text(_KEY_ID, _SECRET)}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


@contextmanager
def _service(base: Base) -> Iterator[tuple[str, int]]:
    """A running service with users that have active versions: its host and port."""
    with tempfile.TemporaryDirectory(prefix="milp-bench-") as folder:
        # A queue that refuses nobody: a refused request would be a quick one.
        settings = Settings(_env_file=None, data_dir=Path(folder), base_model=base.name, port=0, max_queue=10_000)
        with socket.create_server((settings.host, 0)) as free:
            settings = settings.model_copy(update={"port": free.getsockname()[1]})
        _publish(settings, base)
        # Connections outlast a repeat: one that the server closes as it is used again would be lost.
        quiet = ["--no-access-log", "--log-level", "warning", "--timeout-keep-alive", "600"]
        uvicorn = ["-m", "uvicorn", "--factory", "benchmarks.serve.timed_app:create", *quiet]
        child = Child(
            "API",
            [sys.executable, *uvicorn, "--host", settings.host, "--port", str(settings.port)],
            environment={**child_environment(settings), "PYTHONPATH": str(ROOT)},
            log=Path(folder) / "logs" / "api.log",
            grace_seconds=10.0,
        )
        try:
            where = urlsplit(local_url(settings))
            address = (str(where.hostname), int(where.port or 0))
            _wait(child, address)
            yield address
        finally:
            child.stop(lambda: False)


def _publish(settings: Settings, base: Base) -> None:
    """Users with an active version each, as a worker publishes them."""
    database = Database(settings.resolved_database_url)
    database.upgrade()
    with database.write() as session:
        api_keys.ensure_tenant(session, "default")
        digest = secret_digest(_SECRET)
        session.add(
            ApiKey(
                id=_KEY_ID, tenant_id="default", name="bench", scopes=["answer"], secret_digest=digest, created_by=""
            )
        )
    store = AdapterStore.open(settings.resolved_store_url)
    for i in range(USERS):
        publish_generated(database, store, base, "default", f"user-{i}", i)
    database.dispose()


def _wait(child: Child, address: tuple[str, int], seconds: float = 240.0) -> None:
    """Until it answers: the base is loaded by then. Raises what a child that ended says, or RuntimeError."""
    deadline = time.monotonic() + seconds
    while True:
        child.check()
        try:
            asyncio.run(_Client(*address).ask([_post("/v1/users/user-0/responses", "Hello?")], 0.01))
            return
        except (OSError, RefusedError, asyncio.IncompleteReadError) as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the service does not answer: {error}. {child.tail()}") from error
        time.sleep(0.3)
