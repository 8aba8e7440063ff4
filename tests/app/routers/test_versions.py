"""Versions over HTTP: what plain PEFT needs is in the export, and unknown ones are not found."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from engine.base import Base
from tests.support.api import Service, publish


def test_an_export_is_a_flat_peft_folder(answering: Service, small_base: Base) -> None:
    version = publish(answering, small_base, "export", seed=40)
    answer = answering.http.get(f"/v1/users/export/versions/{version.id}/export")
    assert answer.headers["content-type"] == "application/zip"
    assert version.id in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert set(archive.namelist()) == {"adapter_config.json", "adapter_model.safetensors", "stack.json"}
        assert json.loads(archive.read("adapter_config.json"))["peft_type"] == "LORA"


@pytest.mark.parametrize("version_id", ["v_0", "x.y", "%00", "x" * 100])
@pytest.mark.parametrize(("method", "verb"), [("POST", "activate"), ("GET", "export")])
def test_an_unknown_version_is_not_found(
    answering: Service, small_base: Base, version_id: str, method: str, verb: str
) -> None:
    active = publish(answering, small_base, "unknown-version", seed=41)
    answer = answering.http.request(method, f"/v1/users/unknown-version/versions/{version_id}/{verb}")
    assert (answer.status_code, answer.json()["code"]) == (404, "version_not_found")
    (kept,) = answering.http.get("/v1/users/unknown-version/versions").json()["items"]
    assert (kept["id"], kept["active"]) == (active.id, True)


def test_another_users_version_cannot_be_activated(answering: Service, small_base: Base) -> None:
    theirs = publish(answering, small_base, "owner", seed=42)
    publish(answering, small_base, "thief", seed=43)
    answer = answering.http.post(f"/v1/users/thief/versions/{theirs.id}/activate")
    assert (answer.status_code, answer.json()["code"]) == (404, "version_not_found")


def test_versions_of_an_unknown_user_are_not_found(answering: Service) -> None:
    for method, path in [("GET", ""), ("POST", "/v_1/activate"), ("POST", "/deactivate"), ("GET", "/v_1/export")]:
        answer = answering.http.request(method, f"/v1/users/nobody/versions{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")
