"""The web service: `uvicorn --factory app.main:create_app`. Puts the parts together; does nothing by itself.

torch is not imported before the service starts: the OpenAPI document needs none of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import TypedDict

import anyio
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.concurrency import run_in_threadpool

from app.access.key_use import KeyUse
from app.access.known_keys import KnownKeys
from app.access.limiter import Limiter
from app.answers.memory import MemoryCache
from app.answers.runtime import AnsweringRuntime
from app.answers.service import AnswerService
from app.answers.waiting import answer_threads
from app.body_limit import BodyLimit
from app.database import Database
from app.errors import DatabaseAwayError
from app.forgetting.forgetter import Forgetter
from app.forgetting.presence import Presence
from app.gate import KeyGate
from app.housekeeping import keep_house
from app.logging import configure_logging
from app.metrics import Metrics
from app.openapi import install_openapi, install_page
from app.problems import install_problem_handlers
from app.request_log import QUIET, RequestLog
from app.routers import (
    audit,
    chat,
    erasures,
    health,
    history,
    imports,
    job_events,
    jobs,
    keys,
    responses,
    users,
    versions,
    webhooks,
)
from app.settings import Settings, get_settings
from app.state import Services
from app.tracing import start_tracing
from app.upgrades import upgrade_now, upgrade_when_there
from app.webhooks.sender import Sender

_TELEMETRY: TelemetryConfig = {
    # Figures are Prometheus' and errors the log's: its own would quote what was sent.
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
    "exclude": lambda scope: scope["path"] in QUIET,
}
"""Of FastAPI's telemetry, the span of a request; `app.tracing` says whether and where it goes."""


class LifespanState(TypedDict):
    services: Services


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; without settings, those of the environment."""
    settings = settings or get_settings()
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[LifespanState]:
        configure_logging(settings.log_level)
        send_the_rest = start_tracing("api")
        services = await run_in_threadpool(_open, settings, metrics)
        try:
            upgraded = await run_in_threadpool(upgrade_now, services.database)
            async with anyio.create_task_group() as background:
                if upgraded:
                    await run_in_threadpool(services.forgetter.enter)
                else:
                    background.start_soon(upgrade_when_there, services.database)
                background.start_soon(keep_house, services)
                background.start_soon(Sender(services.database, metrics, private=settings.webhooks_private).run)
                yield {"services": services}
                background.cancel_scope.cancel()
        finally:
            await run_in_threadpool(_close, services)
            await run_in_threadpool(send_the_rest)

    app = FastAPI(
        title="milp-serve",
        version=version("milp-serve"),
        description="Language models personalised per user: histories trained into LoRA stacks on one shared base.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        telemetry=_TELEMETRY,
    )
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(KeyGate)
    app.add_middleware(RequestLog, metrics=metrics)
    for module in (
        responses,  # first: routes are looked through in this order, and answers are what is asked for all the time
        chat,
        history,
        imports,
        users,
        erasures,
        jobs,
        job_events,
        versions,
        keys,
        webhooks,
        audit,
        health,
    ):
        app.include_router(module.router)
    app.webhooks.include_router(webhooks.told)
    install_problem_handlers(app)
    install_openapi(app, *history.BODY_SCHEMAS, *imports.BODY_SCHEMAS)
    install_page(app)
    return app


def _open(settings: Settings, metrics: Metrics) -> Services:
    from adapters_store.store import AdapterStore

    database = Database(settings.resolved_database_url)
    store = AdapterStore.open(settings.resolved_store_url)
    runtime = AnsweringRuntime(settings)
    memory, presence = MemoryCache(), Presence()
    runtime.start()
    return Services(
        settings=settings,
        database=database,
        store=store,
        metrics=metrics,
        known_keys=KnownKeys(),
        key_use=KeyUse(),
        limiter=Limiter(settings.broker_url, metrics),
        memory=memory,
        runtime=runtime,
        answers=AnswerService(settings, database, runtime, memory, presence, metrics),
        presence=presence,
        forgetter=Forgetter(database, store, runtime, memory, presence),
        answer_threads=answer_threads(settings.max_batch_rows, settings.max_queue),
    )


def _close(services: Services) -> None:
    services.runtime.close()
    with suppress(DatabaseAwayError):
        services.forgetter.leave()
    services.database.dispose()
