"""Every route of the OpenAPI document, asked with what its schema allows and with what it does not: it answers as the
document says, and never with an error of its own.

schemathesis makes the requests of the document. `make fuzz` sends many more.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from app.main import create_app
from app.repositories import jobs
from app.settings import Settings
from engine.base import Base
from tests.support.api import Service, publish, served
from tests.support.examples import TIMES, tried
from tests.support.keys import AUTH, KEYS
from tests.support.routes import Things
from tests.support.servers import PostgresServer

pytestmark = pytest.mark.filterwarnings(
    # The services asked run in this process and draw random numbers of their own.
    "ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning"
)

ALWAYS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ANSWERING = r"/responses$|/chat/|^/readyz"
"""What says 503 where there is no base."""
schema = schemathesis.openapi.from_dict(
    create_app(Settings(_env_file=None)).openapi(), config=schemathesis.Config(seed=1 if TIMES == 1 else None)
)


@schemathesis.serializer("application/jsonl")
def as_it_is(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    return str(value).encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def keeping(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service on PostgreSQL, which is stricter about texts and numbers than SQLite, without a base."""
    postgres_server.execute("CREATE DATABASE bad_requests TEMPLATE migrated")
    folder: Path = tmp_path_factory.mktemp("keeping")
    with served(
        Settings(
            _env_file=None,
            data_dir=folder,
            api_keys=KEYS,
            database_url=postgres_server.url("bad_requests"),
            base_model=str(folder / "no-model-here"),
        )
    ) as service:
        yield service
    postgres_server.execute("DROP DATABASE bad_requests WITH (FORCE)")


@pytest.fixture
def things(answering: Service, small_base: Base) -> dict[str, str]:
    """One of each kind: the user's version can answer, and their job has ended, for the stream of another would not."""
    ids = Things.of(answering.database, "default").ids
    with answering.database.write() as session:
        jobs.cancel_job(session, jobs.get_job(session, "default", ids["job_id"]))
    return {**ids, "version_id": publish(answering, small_base, ids["user_id"]).id}


@schema.exclude(path_regex=ANSWERING).parametrize()
@tried(4)
def test_whatever_is_sent_to_a_route_it_answers_as_the_document_says(case: schemathesis.Case, keeping: Service) -> None:
    # A parameter that no route has is ignored; a field that no body has is not.
    checks = [*ALWAYS, negative_data_rejection] if case.method == "POST" else ALWAYS
    case.call_and_validate(base_url=keeping.url, headers=AUTH, checks=checks)


@schema.include(path_regex=r"\{|/chat/").parametrize()
@tried(4)
def test_so_it_does_about_things_that_are_there(
    case: schemathesis.Case, answering: Service, things: dict[str, str]
) -> None:
    case.path_parameters = {name: things[name] for name in case.path_parameters}
    if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
        case.body = {**case.body, "model": f"milp:{things['user_id']}", "user": None}
    case.call_and_validate(base_url=answering.url, headers=AUTH, checks=ALWAYS)
