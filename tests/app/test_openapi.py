"""The OpenAPI document tells the truth, and is made without loading anything heavy."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.errors import ServiceError
from app.main import create_app
from app.settings import Settings
from tests.support.routes import OPEN, operations, scope_of

ROOT = Path(__file__).resolve().parents[2]
SECURITY_PAGE, RELIABILITY_PAGE = ROOT / "docs" / "security.md", ROOT / "docs" / "reliability.md"

PROMISED = """
GET POST DELETE /v1/users/{user_id}/history
DELETE /v1/users/{user_id}/history/{sample_id}
POST /v1/imports
GET /v1/erasures
GET /v1/erasures/keys
GET /v1/erasures/{erasure_id}
GET /v1/users/{user_id}/versions/{version_id}/samples
GET /v1/users
GET DELETE /v1/users/{user_id}
POST /v1/users/{user_id}/personalizations
GET /v1/jobs
GET /v1/jobs/{job_id}
GET /v1/jobs/{job_id}/events
GET /v1/jobs/{job_id}/trials
POST /v1/jobs/{job_id}/cancel
POST /v1/jobs/{job_id}/pause
POST /v1/jobs/{job_id}/resume
GET /v1/users/{user_id}/versions
POST /v1/users/{user_id}/versions/{version_id}/activate
POST /v1/users/{user_id}/versions/deactivate
GET /v1/users/{user_id}/versions/{version_id}/export
POST /v1/users/{user_id}/responses
POST /v1/chat/completions
GET /v1/models
GET POST /v1/keys
POST /v1/keys/{key_id}/rotate
POST /v1/keys/{key_id}/revoke
GET POST /v1/webhooks
GET PATCH DELETE /v1/webhooks/{webhook_id}
POST /v1/webhooks/{webhook_id}/rotate
POST /v1/webhooks/{webhook_id}/test
GET /v1/webhooks/{webhook_id}/deliveries
POST /v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver
GET /v1/audit
GET /livez
GET /readyz
GET /metrics
"""


@pytest.fixture
def document(settings: Settings) -> dict[str, Any]:
    return create_app(settings).openapi()


def test_every_promised_route_is_there_and_no_other(document: dict[str, Any]) -> None:
    promised = {
        f"{method} {line.split()[-1]}" for line in PROMISED.strip().splitlines() for method in line.split()[:-1]
    }
    assert {name for name, _ in operations(document)} == promised


def test_every_route_says_what_it_does_and_how_it_fails(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation.get("description"), name
        if "/v1/" in name:
            failures = {status for status in operation["responses"] if status >= "400"}
            assert {"401", "403", "422", "429", "500", "503"} <= failures, name
            if "{" in name:
                assert "404" in failures or name.startswith("POST /v1/users/{user_id}/history"), name
        for status, answer in operation["responses"].items():
            if status >= "400":
                assert list(answer["content"]) == ["application/problem+json"], name
                assert answer["content"]["application/problem+json"]["schema"]["$ref"].endswith("/Problem")


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for child in node.values():
                yield from references(child)
        elif isinstance(node, list):
            for child in node:
                yield from references(child)

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= known


def test_codes_are_stable_words_and_each_names_one_error() -> None:
    def tree(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from tree(child)

    codes = [kind.code for kind in tree(ServiceError) if kind.__module__ == "app.errors"]
    assert len(codes) == len(set(codes))
    assert all(code.replace("_", "").isalpha() and code.islower() for code in codes)


def test_the_document_is_made_without_loading_anything_heavy() -> None:
    program = (
        "import sys; from app.main import create_app; create_app().openapi(); "
        "heavy = {'torch', 'transformers', 'peft', 'numpy', 'botorch', 'celery', 'bm25s', 'workers'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_history_may_come_as_samples_or_as_one_conversation(document: dict[str, Any]) -> None:
    body = document["paths"]["/v1/users/{user_id}/history"]["post"]["requestBody"]["content"]["application/json"]
    named = [choice["$ref"].rsplit("/", 1)[1] for choice in body["schema"]["anyOf"]]
    schemas = document["components"]["schemas"]
    assert [schemas[name]["required"] for name in named] == [["samples"], ["messages"]]
    both = {"profile", "personalize", "options"}
    assert [sorted(set(schemas[name]["properties"]) - both) for name in named] == [
        ["samples"],
        ["kind", "messages", "time"],
    ]
    assert [schemas[name]["additionalProperties"] for name in named] == [False, False]
    assert [both <= set(schemas[name]["properties"]) for name in named] == [True, True]
    assert "ChatMessageIn" in schemas


def test_what_receivers_of_webhooks_are_sent_is_in_the_document(document: dict[str, Any]) -> None:
    (told,) = document["webhooks"].values()
    body = told["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
    schemas = document["components"]["schemas"]
    assert schemas[body]["properties"]["type"]["enum"] == ["job.succeeded", "job.failed", "job.cancelled"]
    data = schemas[body]["properties"]["data"]["$ref"].rsplit("/", 1)[1]
    assert sorted(schemas[data]["properties"]) == ["job_id", "status", "user_id"]


def test_the_page_on_security_gives_every_route_the_scope_it_has(document: dict[str, Any]) -> None:
    page = SECURITY_PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?:`(\w+)`|open) \| (`(?:GET|POST|DELETE) /.*) \|$", page, re.MULTILINE)
    written = {route: scope for scope, routes in rows for route in re.findall(r"`([^`]+)`", routes)}
    declared = {name: "" if name in OPEN else scope_of(operation) for name, operation in operations(document)}
    assert written == declared


@pytest.mark.parametrize("page", [SECURITY_PAGE, RELIABILITY_PAGE], ids=lambda page: page.stem)
def test_every_test_a_page_names_is_there(page: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text(encoding="utf-8"))
    assert len(named) > 8
    for file, test in named:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in text, (file, test)


def test_the_page_of_the_document_takes_all_it_shows_from_this_service(settings: Settings) -> None:
    browser = TestClient(create_app(settings))
    page = browser.get("/docs")
    assert page.headers["content-security-policy"].startswith("default-src 'self' 'unsafe-inline'; ")
    wanted = re.findall(r"""(?:href|src)="([^"]+)"|url: '([^']+)'""", page.text)
    paths = [one or other for one, other in wanted]
    assert paths == [
        "/docs/files/swagger-ui.css",
        "/docs/files/favicon-32x32.png",
        "/docs/files/swagger-ui-bundle.js",
        "/openapi.json",
    ]
    for path in paths:
        assert browser.get(path).status_code == 200
    assert "https://" not in page.text
    assert browser.get("/docs/files/../../__init__.py").status_code == 404
