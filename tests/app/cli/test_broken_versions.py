"""Versions that are not there or were tampered with: what the `milp` command says of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from adapters_store.store import AdapterStore
from app.database import Database
from app.embedded.service import EmbeddedService
from app.tables import Version
from engine.base import load_base
from tests.app.cli.service import milp, one_line
from tests.support.api import Service, publish, weights_file
from tests.support.keys import bearer


@pytest.fixture
def tampered(service: EmbeddedService, histories: Path, tmp_path: Path) -> Iterator[Version]:
    """The active version of a user with a history, one bit of its weights changed after it was published."""
    ada = json.loads(histories.read_text().splitlines()[0])["user_id"]
    ran = milp("import", str(histories), "--user", ada, "--no-personalize", "--url", service.url, folder=tmp_path)
    assert ran.code == 0, ran.err
    database = Database(service.settings.resolved_database_url)
    store = AdapterStore.open(service.settings.resolved_store_url)
    base = load_base(service.settings.base_model, device="cpu", dtype="float32", threads=1)
    with httpx.Client(base_url=service.url, headers=bearer(service.api_key)) as http:
        shared = Service(service.settings, service.url, http, database, store)
        version = publish(shared, base, ada)
    weights = weights_file(shared, version)
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    yield version
    database.dispose()


def test_an_unknown_version_is_refused_in_one_line(service: EmbeddedService, histories: Path, tmp_path: Path) -> None:
    milp("import", str(histories), "--no-personalize", "--url", service.url, folder=tmp_path)
    ada = json.loads(histories.read_text().splitlines()[0])["user_id"]
    unknown = "v_" + "0" * 32
    for wanted, said in ((unknown, f"no version '{unknown}'"), ("v 1", "no version id"), ("../x", "/versions/../x/")):
        assert said in one_line(milp("export", ada, "--version", wanted, "--url", service.url, folder=tmp_path))
    assert list(tmp_path.glob("*.zip")) == []


def test_a_tampered_version_answers_nothing_and_is_not_exported(
    service: EmbeddedService, tampered: Version, tmp_path: Path
) -> None:
    at = ["--url", service.url]
    asked = milp("ask", tampered.user_id, "What is 3 plus 3?", *at, folder=tmp_path)
    assert asked.code == 0
    assert asked.out.splitlines()[-1] == "(memory, 3 past pairs in the prompt)"
    (warning,) = asked.err.splitlines()
    demanded = one_line(milp("ask", tampered.user_id, "Hi", "--mode", "personalized", *at, folder=tmp_path))
    exported = one_line(milp("export", tampered.user_id, *at, folder=tmp_path))
    for line in (warning, demanded, exported):
        assert line.startswith("milp: ")
        assert "personalise again" in line
    assert tampered.id in warning
    assert list(tmp_path.glob("*.zip")) == []
