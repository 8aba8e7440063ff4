"""The `milp` commands, run as a person runs them, against a real service."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from app.cli.client import ServiceClient
from app.embedded.service import EmbeddedService
from tests.app.cli.service import milp, one_line

HEAVY = ("torch", "transformers", "peft", "botorch", "matplotlib", "celery", "redis", "sqlalchemy", "fastapi", "httpx")


def names(histories: Path) -> list[str]:
    return [json.loads(line)["user_id"] for line in histories.read_text().splitlines()]


def test_help_lists_every_command_and_loads_nothing_heavy() -> None:
    program = (
        "import sys; from app.cli.main import app\n"
        "try: app(['--help'], prog_name='milp')\n"
        "except SystemExit: pass\n"
        f"print('loaded:', *sorted({set(HEAVY)!r} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    commands = re.findall(r"^  (\w+)  ", ran.stdout, re.MULTILINE)
    assert commands == [
        "up",
        "demo",
        "import",
        "personalize",
        "status",
        "ask",
        "chat",
        "export",
        "forget",
        "users",
        "jobs",
        "evaluate",
        "backup",
        "restore",
        "keys",
        "webhooks",
    ]
    assert ran.stdout.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize(
    "arguments",
    [["users"], ["jobs"], ["status"], ["ask", "anna", "Hi"], ["personalize", "anna"], ["export", "anna"]],
)
def test_without_a_service_every_command_says_how_to_start_one(tmp_path: Path, arguments: list[str]) -> None:
    with socket.socket() as reserved:  # bound and not listening: nobody answers there
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        line = one_line(milp(*arguments, "--url", url, folder=tmp_path))
    assert line == f"milp: No service answers at {url}. Start one with `milp up`, or name another with --url."


def test_a_url_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "localhost:8321" in one_line(milp("users", "--url", "localhost:8321", folder=tmp_path))


def test_the_service_is_looked_for_where_the_settings_say(service: EmbeddedService, tmp_path: Path) -> None:
    here = {"MILP_PORT": str(service.settings.port), "MILP_DATA_DIR": str(service.settings.data_dir)}
    ran = milp("status", folder=tmp_path, **here)
    assert ran.out.startswith(f"The service at {service.url} is ready.")


def test_a_history_is_imported_personalised_and_exported(
    service: EmbeddedService, client: ServiceClient, histories: Path, tmp_path: Path
) -> None:
    ada, bob = names(histories)
    imported = milp("import", str(histories), "--no-personalize", "--url", service.url, folder=tmp_path)
    assert imported.out.splitlines() == [
        f"{name}: 24 samples added, 0 known before, 24 in all; no job: "
        "The history was only stored, as asked (personalize is false)."
        for name in (ada, bob)
    ]
    assert client.user(ada)["profile"] == "Answers shortly."
    assert client.history(ada)[3]["time"].startswith("2026-01-04T10:00:00")

    arguments = ["--trials", "3", "--seed", "1", "--url", service.url]
    ran = milp("personalize", ada, *arguments, folder=tmp_path)
    assert ran.code == 0, ran.err
    assert f"{ada}: succeeded, 3/3 trials, best ROUGE-L" in ran.out
    assert "Personalised" in ran.out
    assert "Gate: " in ran.out

    (job,) = client.jobs(user_id=ada)
    assert (job["options"]["trials"], job["options"]["seed"]) == (3, 1)
    shown = milp("status", job["id"], "--url", service.url, folder=tmp_path)
    assert shown.out.startswith(f"{job['id']} of {ada}: succeeded, 3/3 trials")
    listed = milp("jobs", "--user", ada, "--url", service.url, folder=tmp_path)
    assert job["id"] in listed.out
    assert "3/3" in listed.out

    if job["version_id"] is None:  # the base won: there is nothing to export, and the command says so
        assert "has no version yet" in one_line(milp("export", ada, "--url", service.url, folder=tmp_path))
        return
    exported = milp("export", ada, "--url", service.url, folder=tmp_path)
    file = tmp_path / f"{ada}-{job['version_id']}.zip"
    assert exported.out.startswith(file.name)
    with zipfile.ZipFile(file) as archive:
        assert {"adapter_config.json", "adapter_model.safetensors"} <= set(archive.namelist())
    again = one_line(milp("export", ada, "--url", service.url, folder=tmp_path))
    assert "is there already" in again


def test_an_import_starts_jobs_unless_told_otherwise(
    service: EmbeddedService, client: ServiceClient, histories: Path, tmp_path: Path
) -> None:
    ada, bob = names(histories)
    ran = milp("import", str(histories), "--user", bob, "--url", service.url, folder=tmp_path)
    (job,) = client.jobs(user_id=bob)
    client.cancel(job["id"])
    assert ran.out == f"{bob}: 24 samples added, 0 known before, 24 in all; job {job['id']} (milp status {job['id']})\n"
    assert f"{ada}" not in milp("users", "--url", service.url, folder=tmp_path).out
    status = milp("status", bob, "--url", service.url, folder=tmp_path)
    assert status.out.startswith(f"{bob}: active version none, 24 samples")


def test_chat_jsonl_is_imported_for_the_user_named(
    service: EmbeddedService, client: ServiceClient, histories: Path, tmp_path: Path
) -> None:
    user = names(histories)[0]
    turns = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hello yourself."}]
    file = tmp_path / "chat.jsonl"
    file.write_text(json.dumps({"messages": turns}) + "\n")
    assert "names no user" in one_line(milp("import", str(file), "--url", service.url, folder=tmp_path))
    ran = milp("import", str(file), "--user", user, "--url", service.url, folder=tmp_path)
    assert ran.out.startswith(f"{user}: 1 samples added")
    assert [(s["query"], s["response"]) for s in client.history(user)] == [("Hello?", "Hello yourself.")]


def test_questions_are_answered_one_at_a_time_or_one_after_another(
    service: EmbeddedService, histories: Path, tmp_path: Path
) -> None:
    user = names(histories)[0]
    milp("import", str(histories), "--no-personalize", "--url", service.url, folder=tmp_path)
    asked = milp("ask", user, "What is 3 plus 3?", "--url", service.url, folder=tmp_path)
    answer, made_by = asked.out.splitlines()[0], asked.out.splitlines()[-1]
    assert answer
    assert made_by == "(memory, 3 past pairs in the prompt)"
    based = milp("ask", user, "What is 3 plus 3?", "--mode", "base", "--url", service.url, folder=tmp_path)
    assert based.out.splitlines()[-1] == "(base)"
    chat = milp("chat", user, "--url", service.url, folder=tmp_path, given="What is 3 plus 3?\nAnd 4?\n\nnever asked\n")
    assert chat.out.count("(memory, 3 past pairs in the prompt)") == 2
    assert chat.out.startswith(answer)


def test_what_the_service_refuses_is_one_line(service: EmbeddedService, tmp_path: Path) -> None:
    assert "nobody" in one_line(milp("ask", "nobody", "Hi", "--url", service.url, folder=tmp_path))
    assert "nobody" in one_line(milp("chat", "nobody", "--url", service.url, folder=tmp_path))
    assert "job_nope" in one_line(milp("status", "job_nope", "--url", service.url, folder=tmp_path))
    one_line(milp("ask", "an/na", "Hi", "--url", service.url, folder=tmp_path))


def test_an_argument_that_is_not_utf8_is_named_with_what_to_do(tmp_path: Path) -> None:
    for arguments in (["ask", "anna", "caf\udce9"], ["status", "caf\udce9"]):
        line = one_line(milp(*arguments, "--url", "http://127.0.0.1:9", folder=tmp_path))
        assert line == (
            r"milp: The argument 'caf\udce9' is not UTF-8. Write it from a terminal set to UTF-8 (LANG=C.UTF-8)."
        )


def test_half_a_character_in_a_history_is_named_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "half.jsonl"
    file.write_text(r'{"user_id": "anna", "samples": [{"query": "a \ud83d b", "response": "c"}]}')
    line = one_line(milp("import", str(file), "--url", "http://127.0.0.1:9", folder=tmp_path))
    assert line == r"milp: A text holds '\ud83d', which cannot be sent or printed as utf-8. Take it out and try again."


def test_keys_that_are_not_json_are_refused_with_what_to_write(tmp_path: Path) -> None:
    line = one_line(milp("users", folder=tmp_path, MILP_API_KEYS="secret"))
    assert line.startswith("milp: The setting MILP_API_KEYS is not JSON. Write an object of keys and their tenants")
    assert """MILP_API_KEYS='{"a-long-secret": "default"}'""" in line


def test_the_surrogate_of_a_search_can_be_chosen(
    service: EmbeddedService, client: ServiceClient, histories: Path, tmp_path: Path
) -> None:
    ada, bob = names(histories)
    at = ["--url", service.url]
    assert milp("import", str(histories), "--no-personalize", *at, folder=tmp_path).code == 0
    ran = milp("personalize", ada, "--surrogate", "ensemble_map_saas", "--no-wait", *at, folder=tmp_path)
    assert ran.code == 0, ran.err
    (job,) = client.jobs(user_id=ada)
    client.cancel(job["id"])
    assert job["options"]["surrogate"] == "ensemble_map_saas"
    assert "fully_bayesian_saas" in one_line(milp("personalize", bob, "--surrogate", "cubic", *at, folder=tmp_path))


def test_a_mode_that_is_none_is_refused_in_one_line(service: EmbeddedService, histories: Path, tmp_path: Path) -> None:
    milp("import", str(histories), "--no-personalize", "--url", service.url, folder=tmp_path)
    assert "mode" in one_line(
        milp("ask", names(histories)[0], "Hi", "--mode", "magic", "--url", service.url, folder=tmp_path)
    )


def test_something_else_that_answers_http_is_not_taken_for_a_service(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "-d", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as other:
        assert other.stdout is not None
        found = re.search(r"port (\d+)", other.stdout.readline())
        assert found is not None
        line = one_line(milp("users", "--url", f"http://127.0.0.1:{found.group(1)}", folder=tmp_path))
        other.kill()
    assert "File not found" in line or "not as a milp service" in line


def test_a_user_is_forgotten_and_the_receipt_kept(
    service: EmbeddedService, client: ServiceClient, tmp_path: Path
) -> None:
    client.add_history("gone", {"samples": [{"query": "Hi", "response": "Ho"}], "personalize": False})
    asked = milp("forget", "gone", "--url", service.url, folder=tmp_path)
    assert asked.code != 0  # nobody said yes
    ran = milp("forget", "gone", "--yes", "--receipt", "receipt.jwt", "--url", service.url, folder=tmp_path)
    assert ran.out.startswith("gone: 1 samples, 0 jobs and 0 versions removed from database and store (erasure_")
    assert "Nobody holds anything of gone any more" in ran.out
    head, claims, signature = (tmp_path / "receipt.jwt").read_text().strip().split(".")
    assert head
    assert claims
    assert signature
    assert "gone" not in [user["user_id"] for user in client.users()]
    again = one_line(milp("forget", "gone", "--yes", "--url", service.url, folder=tmp_path))
    assert "There is no user 'gone'" in again
