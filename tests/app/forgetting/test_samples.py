"""Deleting one sample: which versions are marked, what answers say, and where a version's samples came from."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from app.database import Database
from app.repositories import users, versions
from app.repositories.history import sample_digest
from app.tables import Job
from engine.base import Base
from tests.support.api import Service, pairs, publish
from tests.support.records import add_job, version


@pytest.fixture
def split_of_ann(api: TestClient, database: Database) -> dict[str, list[int]]:
    """A user with 30 samples, a job that has learned 24 of them, and its active version."""
    body = {"samples": pairs(30), "personalize": False}
    api.post("/v1/users/ann/history", json=body).raise_for_status()
    ids = [item["id"] for item in api.get("/v1/users/ann/history").json()["items"]]
    split = {"train": ids[:21], "validation": ids[21:24], "test": ids[24:]}
    with database.write() as session:
        job = add_job(session, "default", "ann")
        job.split = {**split, "stop_reason": "all tried"}
        session.add(job)
        kept = versions.add_version(session, version(1, tenant="default", user_id="ann", job=job))
        versions.activate(session, users.get_user(session, "default", "ann"), kept.id)
    return split


def end_jobs(api: TestClient) -> None:
    for job in api.get("/v1/jobs").json()["items"]:
        api.post(f"/v1/jobs/{job['id']}/cancel")


@pytest.mark.parametrize(("part", "marked"), [("train", 1), ("validation", 1), ("test", 0)])
def test_versions_that_have_learned_it_are_marked_and_no_others(
    api: TestClient, split_of_ann: dict[str, list[int]], part: str, marked: int
) -> None:
    end_jobs(api)
    answer = api.delete(f"/v1/users/ann/history/{split_of_ann[part][0]}")
    deleted = answer.json()
    assert len(deleted["versions_marked"]) == marked
    assert deleted["active_version_marked"] == bool(marked)
    assert answer.headers.get("Milp-Warning") == ("learned_deleted_samples" if marked else None)
    assert deleted["retrain"] == {"method": "POST", "path": "/v1/users/ann/personalizations"}
    (listed,) = api.get("/v1/users/ann/versions").json()["items"]
    assert listed["deleted_samples"] == ([deleted["digest"]] if marked else [])
    assert api.get("/v1/users/ann").json()["samples"] == 29


def test_a_job_that_is_learning_it_is_cancelled_and_a_new_one_starts_if_asked(
    api: TestClient, split_of_ann: dict[str, list[int]], database: Database
) -> None:
    deleted = api.delete(f"/v1/users/ann/history/{split_of_ann['test'][0]}?personalize=true").json()
    assert deleted["jobs_cancelled"] == 1
    assert deleted["retrain"] is None
    with database.read() as session:
        started = session.get(Job, deleted["job_id"])
    assert started is not None
    assert started.status == "queued"


def test_a_job_that_cannot_start_deletes_nothing(api: TestClient) -> None:
    api.post("/v1/users/ben/history", json={"samples": pairs(2)}).raise_for_status()
    sample = api.get("/v1/users/ben/history").json()["items"][0]["id"]
    refused = api.delete(f"/v1/users/ben/history/{sample}?personalize=true")
    assert (refused.status_code, refused.json()["code"]) == (422, "history_too_short")
    assert api.get("/v1/users/ben").json()["samples"] == 2


def test_a_sample_of_another_user_is_not_found(api: TestClient, split_of_ann: dict[str, list[int]]) -> None:
    api.post("/v1/users/ben/history", json={"samples": pairs(2)}).raise_for_status()
    for user_id, sample in (("ben", split_of_ann["train"][0]), ("ann", 10**9)):
        refused = api.delete(f"/v1/users/{user_id}/history/{sample}")
        assert (refused.status_code, refused.json()["code"]) == (404, "sample_not_found")
    assert api.get("/v1/users/ann").json()["samples"] == 30


def test_an_answer_by_a_marked_version_says_so_and_one_by_another_does_not(
    answering: Service, small_base: Base
) -> None:
    for user_id, digests in (("marked", ["0" * 64]), ("unmarked", [])):
        kept = publish(answering, small_base, user_id, seed=77)
        with answering.database.write() as session:
            row = versions.get_version(session, "default", user_id, kept.id)
            row.deleted_samples = digests
            session.add(row)
    asked: dict[str, Any] = {"query": "Hi", "max_new_tokens": 2}
    marked, unmarked = (
        answering.http.post(f"/v1/users/{user_id}/responses", json=asked) for user_id in ("marked", "unmarked")
    )
    assert marked.headers["Milp-Warning"] == "learned_deleted_samples"
    assert marked.json()["mode"] == "personalized"
    assert "Personalise the user again" in marked.json()["warning"]["detail"]
    assert "Milp-Warning" not in unmarked.headers
    assert unmarked.json()["warning"] is None


def test_a_versions_samples_can_be_looked_up_and_those_that_were_deleted(answering: Service, small_base: Base) -> None:
    http = answering.http
    http.post("/v1/users/traced/history", json={"samples": pairs(3), "personalize": False}).raise_for_status()
    digests = [sample_digest(pair["query"], pair["response"]) for pair in pairs(3)]
    kept = publish(answering, small_base, "traced", seed=78, sample_digests=digests)
    first, *others = [item["id"] for item in http.get("/v1/users/traced/history").json()["items"]]
    http.delete(f"/v1/users/traced/history/{first}").raise_for_status()
    found = http.get(f"/v1/users/traced/versions/{kept.id}/samples").json()
    assert [sample["digest"] for sample in found["samples"]] == digests
    assert [sample["sample_id"] for sample in found["samples"]] == [None, *others]
    assert found["deleted"] == 1
