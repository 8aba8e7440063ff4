"""`milp demo` from a file of histories to its reports, and its end by Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlmodel import select

from app.cli.client import ServiceClient
from app.cli.demo import chosen_histories
from app.cli.errors import CliError
from app.database import Database
from app.embedded.service import EmbeddedService
from app.tables import Job
from tests.app.cli.service import milp


def job_report(client: ServiceClient, job: dict[str, Any]) -> dict[str, Any]:
    report: dict[str, Any] = client.job(job["id"])["report"]
    return report


def test_the_demo_reports_on_each_user_of_a_file(
    service: EmbeddedService, client: ServiceClient, histories: Path, tmp_path: Path
) -> None:
    ada, bob = (json.loads(line)["user_id"] for line in histories.read_text().splitlines())
    arguments = ["--data", str(histories), "--user", ada, "--trials", "3", "--out", "report"]
    ran = milp("demo", *arguments, "--url", service.url, folder=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert f"Using the service at {service.url}." in ran.out
    assert f"{ada}: 24 samples imported" in ran.out
    assert re.search(rf"{ada}: \w+, \d/3 trials", ran.out)
    for said in ("Memory prompt", "Default LoRA", "Gate: ", "Queries of the test part", "asks: what is"):
        assert said in ran.out
    assert bob not in ran.out
    assert (tmp_path / "report" / f"{ada}.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "report" / f"{ada}.html").read_text()
    assert "data:image/png;base64," in page
    (job,) = client.jobs(user_id=ada)
    if job["version_id"] is None:
        assert "the base itself won" in ran.out
        return
    command = re.search(r"^  (\S+ -c .*)$", ran.out, re.MULTILINE)
    assert command is not None
    loaded = subprocess.run(["sh", "-c", command.group(1)], cwd=tmp_path, capture_output=True, text=True)
    winner = next(t for t in client.trials(job["id"]) if t["number"] == job_report(client, job)["winner"]["trial"])
    assert loaded.stdout == f"{winner['parameters']} LoRA parameters\n", loaded.stderr


@pytest.mark.slow  # half a minute; that a cancelled job is an error is also tested in test_progress.py
def test_a_user_whose_job_fails_does_not_cost_the_others_their_reports(
    service: EmbeddedService, client: ServiceClient, histories: Path, tmp_path: Path
) -> None:
    ada, bob = (json.loads(line)["user_id"] for line in histories.read_text().splitlines())
    arguments = ["--data", str(histories), "--trials", "2", "--out", "report", "--url", service.url]
    with subprocess.Popen(
        [sys.executable, "-m", "app.cli.main", "demo", *arguments],
        cwd=tmp_path,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("MILP_")},
            "MILP_API_KEY": service.api_key,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        said = ""
        while f"{ada}: 24 samples imported" not in said:
            line = demo.stdout.readline()
            assert line, said
            said += line
        while not (started := list(client.jobs(user_id=ada))):
            assert demo.poll() is None
        (job,) = started
        client.cancel(job["id"])
        rest = demo.communicate(timeout=240)[0]
    assert demo.returncode == 1, rest
    assert rest.splitlines()[-1] == f"milp: The job of {ada} ({job['id']}) ended cancelled: no reason was given"
    assert [file.name for file in (tmp_path / "report").glob("*.html")] == [f"{bob}.html"]
    assert f"milp chat {bob}" in rest


def test_a_demo_leaves_the_version_active_that_was_active_before(
    service: EmbeddedService, client: ServiceClient, histories: Path, tmp_path: Path
) -> None:
    ada = json.loads(histories.read_text().splitlines()[0])["user_id"]
    arguments = ["--data", str(histories), "--user", ada, "--trials", "2", "--url", service.url]
    ran = milp("demo", *arguments, folder=tmp_path)
    assert ran.code == 0, ran.err
    (job,) = client.jobs(user_id=ada)
    report = job_report(client, job)
    active = client.user(ada)["active_version_id"]
    assert active == (job["version_id"] if report["activated"] else None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (5, "5 samples are too few to personalise: at least 20 are needed"),
        ([{"query": "q" * 8001, "response": "r"}], "the query has 8001 characters; 8000 is the most"),
    ],
)
def test_a_later_history_that_is_refused_is_named_before_any_job_starts(
    service: EmbeddedService, client: ServiceClient, histories: Path, tmp_path: Path, given: Any, said: str
) -> None:
    ada, bob = (json.loads(line) for line in histories.read_text().splitlines())
    bob["samples"] = bob["samples"][:given] if isinstance(given, int) else bob["samples"] + given
    histories.write_text(f"{json.dumps(ada)}\n{json.dumps(bob)}\n")
    ran = milp("demo", "--data", str(histories), "--url", service.url, folder=tmp_path)
    assert ran.code == 1
    (line,) = ran.err.splitlines()
    assert line.startswith(f"milp: The history of {bob['user_id']} was refused: ")
    assert said in line
    assert line.endswith("No job was started.")
    assert list(client.jobs(user_id=ada["user_id"])) == []


def test_without_a_file_the_demo_takes_two_of_the_examples() -> None:
    assert [history.user_id for history in chosen_histories(None, [])] == ["diabetes-patient", "linux-helper"]
    assert all(len(history.samples) >= 120 for history in chosen_histories(None, []))


def test_a_file_of_many_users_needs_a_name(tmp_path: Path) -> None:
    file = tmp_path / "many.jsonl"
    rows = [{"user_id": f"u{i}", "samples": [{"query": "q", "response": "r"}]} for i in range(3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(CliError, match=r"holds 3 users\. Choose with --user ID: u0, u1, u2\."):
        chosen_histories(file, [])
    assert [history.name for history in chosen_histories(file, ["u2"])] == ["u2"]


def test_a_demo_at_a_url_where_nothing_answers_starts_nothing(tmp_path: Path) -> None:
    ran = milp("demo", "--url", "http://127.0.0.1:9", folder=tmp_path)
    assert ran.code == 1
    assert ran.err.startswith("milp: No service is ready at http://127.0.0.1:9.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow  # half a minute; that Ctrl-C stops every part of a service is also tested in test_service.py
def test_ctrl_c_cancels_the_jobs_of_a_demo_and_stops_the_service_it_started(tmp_path: Path, tiny_base: str) -> None:
    samples = [{"query": f"Is {i} even?", "response": "Yes." if i % 2 == 0 else "No."} for i in range(200)]
    (tmp_path / "ada.jsonl").write_text(json.dumps({"user_id": "ada", "samples": samples}))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MILP_")}
    with subprocess.Popen(
        [sys.executable, "-m", "app.cli.main", "demo", "--data", "ada.jsonl"],
        cwd=tmp_path,
        env={**kept, "MILP_BASE_MODEL": tiny_base, "MILP_PORT": "0", "MILP_AVERAGED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        said = ""
        while "ada: planning" not in said and "ada: evaluating" not in said:
            line = demo.stdout.readline()
            assert line, said
            said += line
        below = psutil.Process(demo.pid).children(recursive=True)
        assert len(below) > 3
        demo.send_signal(signal.SIGINT)
        rest = demo.communicate(timeout=120)[0]
        assert demo.returncode == 130, rest
    assert "Traceback" not in rest
    _, alive = psutil.wait_procs(below, timeout=30)
    assert alive == []
    database = Database(f"sqlite:///{tmp_path / '.milp' / 'milp.sqlite3'}")
    with database.read() as session:
        assert [job.status for job in session.exec(select(Job))] == ["cancelled"]
    database.dispose()
