"""What machines ask: /livez, /readyz, /metrics. Open without a key; nothing here is about any user."""

from __future__ import annotations

from fastapi import APIRouter, Response

from app import errors, readiness
from app.metrics import CONTENT_TYPE
from app.openapi import only_problems
from app.repositories import overview, tallies
from app.routers.as_json import as_json
from app.schemas.health import Alive, Ready
from app.state import ServicesDep

router = APIRouter(tags=["health"])


@router.get("/livez")
async def livez() -> Alive:
    """The process runs."""
    return Alive()


@router.get("/readyz", responses=only_problems(errors.NotReadyError))
@as_json
def readyz(services: ServicesDep) -> Ready:
    """Whether database, broker, store and base model are there; a 503 names each that is not, and what to do."""
    parts = readiness.look(services)
    away = {name: part.detail for name, part in parts.items() if part.needed and not part.ok}
    if away:
        raise errors.NotReadyError(
            " ".join(f"{name}: {detail}" for name, detail in away.items()),
            parts={name: part.model_dump() for name, part in parts.items()},
        )
    return Ready(parts=parts)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Prometheus' text format", "content": {"text/plain": {"schema": {"type": "string"}}}}
    },
)
def metrics(services: ServicesDep) -> Response:
    """Prometheus figures of this process, and of the jobs in the database."""
    services.metrics.set_answering(
        services.runtime.figures(), places=services.settings.bank_stacks, engine_starts=services.runtime.starts
    )
    try:
        with services.database.read() as session:
            services.metrics.set_jobs(overview.jobs_by_status(session), overview.steps_waiting(session))
            services.metrics.set_tallies(tallies.of_all_tenants(session))
        services.metrics.set_database_up(True)
    except errors.DatabaseAwayError:
        # The process's own figures are wanted most when something is away.
        services.metrics.set_database_up(False)
    services.metrics.set_workers(readiness.workers_alive(services))
    return Response(services.metrics.text(), headers={"Content-Type": CONTENT_TYPE})
