"""The README's walk with curl, its commands run as they stand there, as far as none waits for a job."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from app.embedded.service import EmbeddedService

ROOT = Path(__file__).resolve().parents[3]
_WAITS_FOR_A_JOB = re.compile(r"\$[JV]\b|^[JV]=|-N ")


def commands() -> list[str]:
    """What a reader types, in order: the lines after a `$ `, with those that go on."""
    walk = (ROOT / "README.md").read_text(encoding="utf-8").split("## A walk through the API")[1].split("\n## ")[0]
    found = re.findall(r"^\$ (.*(?:(?<=[|\\])\n.*)*)", walk, re.MULTILINE)
    return [command for command in found if not _WAITS_FOR_A_JOB.search(command)]


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_every_command_of_the_walk_is_let_in_and_answered(service: EmbeddedService, tmp_path: Path) -> None:
    (tmp_path / ".milp").symlink_to(service.settings.data_dir)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    typed = commands()
    assert len(typed) >= 10
    assert len([command for command in typed if "api-key" in command]) == 1
    assert all('-H "$A"' in command for command in typed if "curl" in command)
    lines = [command.replace("http://127.0.0.1:8321", service.url) for command in typed]
    script = "\n".join(f"{line}\necho" if "curl" in line else line for line in lines)
    ran = subprocess.run(["bash", "-euo", "pipefail"], input=script, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    answers = [json.loads(line) for line in ran.stdout.splitlines() if line]
    assert len(answers) == script.count("\necho")
    assert [answer["code"] for answer in answers if "code" in answer] == ["user_not_found"]
    assert answers[0]["added"] == 134
    assert answers[0]["job"]["status"] == "queued"
