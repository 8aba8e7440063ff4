"""The web service for tests: in the test's process, and behind a real port."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import torch
import uvicorn

from adapters_store.record import Provenance
from adapters_store.store import AdapterStore
from app.database import Database
from app.main import create_app
from app.repositories import users, versions
from app.settings import Settings
from app.tables import Version
from engine.base import Base
from engine.configuration import Configuration
from engine.projections import Projection
from engine.stack import Stack, active_projections
from tests.support.keys import bearer


@dataclass(frozen=True)
class Service:
    """A running service, its database and its store."""

    settings: Settings
    url: str
    http: httpx.Client
    database: Database
    store: AdapterStore


@contextmanager
def served(settings: Settings) -> Iterator[Service]:
    """The service behind uvicorn on a free port of the loopback, in a thread; its client has the settings' key."""
    server = uvicorn.Server(
        uvicorn.Config(create_app(settings), host="127.0.0.1", port=0, log_level="warning", ws="none", log_config=None)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    database = Database(settings.resolved_database_url)
    url = f"http://127.0.0.1:{port}"
    try:
        headers = bearer(next(iter(settings.api_keys)))
        with httpx.Client(base_url=url, timeout=120, trust_env=False, headers=headers) as client:
            yield Service(settings, url, client, database, AdapterStore.open(settings.resolved_store_url))
    finally:
        server.should_exit = True
        thread.join(60)
        database.dispose()
    assert not thread.is_alive(), "the server did not stop"


def wait_until_ready(client: httpx.Client) -> None:
    deadline = time.monotonic() + 240
    while (answer := client.get("/readyz")).status_code != 200:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.2)


def figure(service: Service, name: str) -> str:
    """What /metrics says of this name and labels; empty where it says nothing."""
    found = [line for line in service.http.get("/metrics").text.splitlines() if line.startswith(name + " ")]
    return found[0].rsplit(" ", 1)[1] if found else ""


def pairs(count: int, *, first: int = 0) -> list[dict[str, Any]]:
    """Distinct samples as they are sent, a minute apart."""
    return [
        {"query": f"question {i}", "response": f"answer {i}", "time": f"2026-01-01T{i // 60:02}:{i % 60:02}:00Z"}
        for i in range(first, first + count)
    ]


def loud_stack(projections: tuple[Projection, ...], n_layers: int, seed: int = 0) -> Stack:
    """An untrained stack that changes every answer."""
    configuration = Configuration((True,) * n_layers, 1, 8)
    generator = torch.Generator().manual_seed(seed)
    chosen = active_projections(projections, configuration)
    return Stack(
        configuration,
        {p.name: torch.randn(8, p.d_in, generator=generator) * 0.3 for p in chosen},
        {p.name: torch.randn(p.d_out, 8, generator=generator) * 0.3 for p in chosen},
    )


def publish(
    service: Service,
    base: Base,
    user_id: str,
    *,
    seed: int = 0,
    activate: bool = True,
    sample_digests: Sequence[str] = (),
) -> Version:
    """A version of the user in store and database, as a worker publishes it."""
    stack = loud_stack(base.projections, base.n_layers, seed)
    provenance = Provenance(
        base.name, base.digest, base.model_type, fan_in_fan_out=False, sample_digests=list(sample_digests)
    )
    kept = service.store.publish("default", user_id, stack, provenance)
    with service.database.write() as session:
        user = users.ensure_user(session, "default", user_id, None)
        version = versions.add_version(
            session,
            Version(
                id=kept.id,
                tenant_id="default",
                user_id=user_id,
                path=kept.path,
                layers=stack.configuration.layer_bits,
                n=1,
                r=8,
                base_digest=base.digest,
                passed_gate=True,
            ),
        )
        if activate:
            versions.activate(session, user, version.id)
    return version


def weights_file(service: Service, version: Version) -> Path:
    return Path(service.settings.data_dir.resolve() / "store" / version.path / "adapter_model.safetensors")


def events_of(text: str) -> list[tuple[str, str, Any]]:
    """(event, id, data) of a text/event-stream."""
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
        if "data" in fields:
            found.append((fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"])))
    return found
