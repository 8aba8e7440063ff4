"""Fixtures of the web service's tests: an API without a base model on each database, and one that answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from engine.base import Base, load_base
from tests.support.api import Service, served, wait_until_ready
from tests.support.keys import AUTH, KEYS


@pytest.fixture
def api_settings(settings: Settings, database_url: str) -> Settings:
    """Settings without a base model: loading one takes seconds, and most routes need none."""
    return settings.model_copy(
        update={"database_url": database_url, "base_model": str(settings.data_dir / "no-model-here")}
    )


@pytest.fixture
def api(api_settings: Settings) -> Iterator[TestClient]:
    """The API on each kind of database; it answers everything but queries."""
    with TestClient(create_app(api_settings), raise_server_exceptions=False, headers=AUTH) as client:
        yield client


@pytest.fixture(scope="session")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the small base behind a real port. Shared: use a user of the test's own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MILP_API_KEYS", "MILP_BROKER_URL", "MILP_DATABASE_URL", "MILP_STORE_URL", "MILP_BASE_MODEL"):
            patch.delenv(name, raising=False)
        settings = Settings(
            _env_file=None,
            data_dir=tmp_path_factory.mktemp("answering"),
            api_keys=KEYS,
            dtype="float32",
            torch_threads=1,
            max_new_tokens=12,
            bank_stacks=2,
        )
    with served(settings) as service:
        wait_until_ready(service.http)
        yield service


@pytest.fixture(scope="session")
def small_base(answering: Service) -> Base:
    """The same base as the service's, to make stacks for it."""
    return load_base(answering.settings.base_model, device="cpu", dtype="float32", threads=1)
