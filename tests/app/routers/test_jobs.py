"""Jobs over HTTP: progress, trials, cancel, pause, resume, lists."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from app.database import Database
from app.job_states import TrialState
from app.repositories import jobs
from tests.support.api import pairs
from tests.support.records import add_job, add_trials


def start(api: TestClient, user_id: str = "ann") -> dict[str, Any]:
    body = api.post(f"/v1/users/{user_id}/history", json={"samples": pairs(25)}).json()
    job: dict[str, Any] = body["job"]
    return job


def test_a_job_shows_its_trials_its_best_and_its_front(api: TestClient, database: Database) -> None:
    job_id = start(api)["id"]
    scores = [(3.0, 10.0), (2.0, 12.0), (2.5, 15.0), (2.6, 11.0), None, (2.0, 12.0)]
    with database.write() as session:
        job = jobs.get_job(session, "default", job_id)
        job.trials_planned = 12
        for trial, score in zip(add_trials(session, job, 7), scores, strict=False):
            trial.state = TrialState.succeeded if score else TrialState.failed
            if score:
                trial.loss, trial.rouge_l = score
            else:
                trial.error = {"code": "diverged", "detail": "the loss became NaN"}
    shown = api.get(f"/v1/jobs/{job_id}").json()
    assert (shown["trials_done"], shown["trials_planned"]) == (6, 12)
    assert shown["best"] == {"trial": 2, "rouge_l": 15.0, "loss": 2.5}
    assert [p["trial"] for p in shown["pareto_front"]] == [1, 5, 2], "of equals all stay, as in the job's report"
    first = api.get(f"/v1/jobs/{job_id}/trials", params={"limit": 4}).json()
    second = api.get(f"/v1/jobs/{job_id}/trials", params={"limit": 4, "cursor": first["next_cursor"]}).json()
    assert [t["number"] for t in first["items"] + second["items"]] == [0, 1, 2, 3, 4, 5, 6]
    assert second["items"][0]["error"] == {"code": "diverged", "detail": "the loss became NaN"}
    assert second["next_cursor"] is None
    assert api.get("/v1/jobs").json()["items"][0]["trials_done"] == 6


@pytest.mark.parametrize(
    "scores",
    [
        {"passes": [{"loss": [2.0], "rouge_l": [9.0]}] * 2, "forecast": {}},
        # As they were kept before a trial was scored after every pass.
        {"curve": [2.5, 2.0], "forecast": {}},
    ],
    ids=["passes", "before passes were scored"],
)
def test_a_trial_that_was_stopped_early_says_after_how_many_passes(
    api: TestClient, database: Database, scores: dict[str, Any]
) -> None:
    job_id = start(api)["id"]
    with database.write() as session:
        whole, stopped = add_trials(session, jobs.get_job(session, "default", job_id), 2)
        whole.state, whole.scores = TrialState.succeeded, {"passes": [{"loss": [2.0], "rouge_l": [9.0]}]}
        stopped.state, stopped.scores = TrialState.stopped, scores
    shown = api.get(f"/v1/jobs/{job_id}/trials").json()["items"]
    assert [(trial["state"], trial["stopped_after"]) for trial in shown] == [("succeeded", None), ("stopped", 2)]


def test_a_job_is_paused_resumed_and_cancelled(api: TestClient) -> None:
    path = f"/v1/jobs/{start(api)['id']}"
    assert api.post(f"{path}/pause").json()["status"] == "paused"
    assert api.post(f"{path}/resume").json()["status"] == "queued"
    cancelled = api.post(f"{path}/cancel").json()
    assert cancelled["status"] == "cancelled"
    assert cancelled["finished_at"] is not None
    for verb in ("pause", "resume", "cancel"):
        answer = api.post(f"{path}/{verb}")
        assert (answer.status_code, answer.json()["code"]) == (409, "invalid_transition")


def test_lists_are_of_one_user_or_one_status_and_newest_first(api: TestClient) -> None:
    first, second, third = start(api, "ann"), start(api, "bob"), start(api, "cid")
    api.post(f"/v1/jobs/{second['id']}/cancel")

    def ids(**params: str) -> list[str]:
        return [job["id"] for job in api.get("/v1/jobs", params=params).json()["items"]]

    assert ids() == [third["id"], second["id"], first["id"]]
    assert ids(user_id="ann") == [first["id"]]
    assert ids(status="cancelled") == [second["id"]]
    assert ids(status="queued", user_id="bob") == []


def test_a_job_says_which_older_job_of_its_user_it_waits_for(api: TestClient, database: Database) -> None:
    with database.write() as session:
        oldest, middle, newest = (add_job(session, "default", "ann") for _ in range(3))
        alone = add_job(session, "default", "bob")
        made = [job.id for job in (oldest, middle, newest, alone)]

    def waits_for() -> list[str | None]:
        listed = {job["id"]: job["waits_for"] for job in api.get("/v1/jobs").json()["items"]}
        assert listed == {job_id: api.get(f"/v1/jobs/{job_id}").json()["waits_for"] for job_id in made}
        return [listed[job_id] for job_id in made]

    api.post(f"/v1/jobs/{oldest.id}/pause").raise_for_status()
    assert waits_for() == [None, oldest.id, oldest.id, None]
    api.post(f"/v1/jobs/{oldest.id}/cancel").raise_for_status()
    assert waits_for() == [None, None, middle.id, None]
    api.post(f"/v1/jobs/{newest.id}/cancel").raise_for_status()
    assert waits_for() == [None, None, None, None]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"limit": "0"}, "invalid_input"),
        ({"limit": "201"}, "invalid_input"),
        ({"limit": "many"}, "invalid_input"),
        ({"status": "sleeping"}, "invalid_input"),
        ({"user_id": "a.b"}, "invalid_user_id"),
        ({"cursor": "zzz"}, "invalid_cursor"),
        ({"cursor": "\0"}, "invalid_cursor"),
    ],
)
def test_wrong_parameters_of_a_list_are_refused(api: TestClient, params: dict[str, str], code: str) -> None:
    answer = api.get("/v1/jobs", params=params)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


@pytest.mark.parametrize("job_id", ["job_0", "job_%00", "x.y", "x" * 300])
@pytest.mark.parametrize("rest", ["", "/trials", "/events"])
def test_an_unknown_job_is_not_found(api: TestClient, job_id: str, rest: str) -> None:
    answer = api.get(f"/v1/jobs/{job_id}{rest}")
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


@pytest.mark.parametrize(
    "options",
    [
        {"trials": "12"},
        {"trials": False},
        {"trials": 1},
        {"preset": "huge"},
        {"seed": -1},
        {"max_seconds": 0},
        {"surprise": 1},
        {"activate": True},
        [],
    ],
)
def test_wrong_options_start_no_job(api: TestClient, options: object) -> None:
    api.post("/v1/users/ann/history", json={"samples": pairs(25), "personalize": False})
    answer = api.post("/v1/users/ann/personalizations", json=options)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert api.get("/v1/jobs").json()["items"] == []


def test_an_infinite_number_is_refused(api: TestClient) -> None:
    api.post("/v1/users/ann/history", json={"samples": pairs(25), "personalize": False})
    answer = api.post(
        "/v1/users/ann/personalizations",
        content=b'{"max_seconds": Infinity}',
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
