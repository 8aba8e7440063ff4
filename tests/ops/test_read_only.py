"""The image's read-only root file system: a whole service at work where only the data folder and a temporary one can be
written, without any capability, as docker-compose.yml runs it. In a mount namespace, since no container engine is here.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.families import save_tiny_model
from tests.support.keys import AUTH, KEYS_VARIABLE

ROOT = Path(__file__).parents[2]
_WRITABLE = ("data", "tmp")
_SHUT = r"""
set -e
for folder in data tmp; do mount --bind "$1/$folder" "$1/$folder"; done
while read -r _ _ _ _ point _; do
  case "$point" in /proc*|/sys*|/dev*|"$1"/data|"$1"/tmp) ;; *) mount -o remount,bind,ro "$point" ;; esac
done < /proc/self/mountinfo
if touch "$1/outside" 2> /dev/null; then echo "still writable: $1"; exit 1; fi
shift
exec setpriv --bounding-set=-all --inh-caps=-all "$@"
"""
"""Leaves two folders of $1 writable and all else read-only, then becomes the command that follows, without rights."""


def _may_mount() -> bool:
    tools = all(shutil.which(tool) for tool in ("unshare", "setpriv", "mount"))
    return tools and subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


def environment_of_the_image(data: Path) -> dict[str, str]:
    """What the Dockerfile sets, its /data being this folder."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    pairs = [pair for line in re.findall(r"^ENV (.*)$", text, re.MULTILINE) for pair in line.split()]
    return {name: value.replace("/data", str(data)) for name, _, value in (pair.partition("=") for pair in pairs)}


@pytest.fixture
def shut_in(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A whole service that can write nowhere else: its URL and its data folder."""
    base = save_tiny_model("llama", tmp_path / "base")
    for name in _WRITABLE:
        (tmp_path / name).mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MILP_")}
    image = environment_of_the_image(tmp_path / "data") | {"HOME": str(tmp_path / "data")}
    own = {"TMPDIR": str(tmp_path / "tmp"), "MILP_HOST": "127.0.0.1", "MILP_PORT": "0", "MILP_BASE_MODEL": str(base)}
    process = subprocess.Popen(
        [
            *("unshare", "--mount", "--propagation", "private", "bash", "-c", _SHUT, "shut", str(tmp_path)),
            *(sys.executable, "-m", "app.cli.main", "up"),
        ],
        cwd=ROOT,
        env=kept | image | own | KEYS_VARIABLE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = []
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"Ready at (\S+)", line):
            break
    else:
        pytest.fail("".join(said))
    try:
        yield found.group(1), tmp_path / "data"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.skipif(not _may_mount(), reason="needs the right to mount, in a namespace of its own")
def test_a_service_learns_and_answers_where_it_can_write_to_its_data_folder_alone(shut_in: tuple[str, Path]) -> None:
    url, data = shut_in
    samples = [{"query": f"how is number {i}?", "response": "well, thank you"} for i in range(24)]
    options = {"trials": 3, "epochs": 8, "learning_rate": 0.02, "activate": "always"}
    with httpx.Client(base_url=url, timeout=240, headers=AUTH, trust_env=False) as http:
        job = http.post("/v1/users/ann/history", json={"samples": samples, "options": options}).json()["job"]["id"]
        with http.stream("GET", f"/v1/jobs/{job}/events") as events:
            assert '"succeeded"' in list(events.iter_lines())[-2]
        # Larger than is kept in memory: a form's file goes to the temporary folder.
        table = "query,response\n" + "".join(f"q {i},{'word ' * 200}\n" for i in range(2000))
        sent = {"file": ("table.csv", table.encode())}
        http.post("/v1/imports?format=csv&user=ben&personalize=false", files=sent).raise_for_status()
        answer = http.post("/v1/users/ann/responses", json={"query": "how is number 3?"}).json()
        assert answer["mode"] == "personalized", answer
        assert all(part["ok"] for part in http.get("/readyz").json()["parts"].values())
    logged = "".join(file.read_text(errors="replace") for file in (data / "logs").iterdir())
    assert "Read-only file system" not in logged


def test_compose_runs_api_and_workers_read_only_without_capabilities() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    for name in ("api", "worker", "worker-gpu"):
        service = services[name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["tmpfs"] == ["/tmp"], name
        assert service["volumes"] == ["data:/data"], name


def test_all_that_the_image_names_for_writing_lies_in_its_data_folder(tmp_path: Path) -> None:
    named = environment_of_the_image(tmp_path)
    assert {named[name].startswith(str(tmp_path)) for name in ("MILP_DATA_DIR", "HF_HOME", "MPLCONFIGDIR")} == {True}
    assert "--home-dir /data" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
