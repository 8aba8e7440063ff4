"""What one API process holds while it runs, typed; made by the lifespan, reached through `services`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request

from app.access.key_use import KeyUse
from app.access.known_keys import KnownKeys
from app.access.limiter import Limiter
from app.answers.memory import MemoryCache
from app.answers.runtime import AnsweringRuntime
from app.answers.service import AnswerService
from app.database import Database
from app.forgetting.forgetter import Forgetter
from app.forgetting.presence import Presence
from app.metrics import Metrics
from app.settings import Settings

if TYPE_CHECKING:
    from adapters_store.store import AdapterStore


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    database: Database
    store: AdapterStore
    metrics: Metrics
    known_keys: KnownKeys
    key_use: KeyUse
    limiter: Limiter
    memory: MemoryCache
    runtime: AnsweringRuntime
    answers: AnswerService
    presence: Presence
    forgetter: Forgetter
    answer_threads: CapacityLimiter
    """Threads in which answers begin. Apart from those of the other routes, which a slow store must not block."""


async def services(request: Request) -> Services:
    """The process's services (a dependency; a coroutine, for FastAPI takes a thread for every plain function)."""
    found: Services = request.state.services
    return found


ServicesDep = Annotated[Services, Depends(services)]
