"""`milp up` for real: started, stopped, killed, refused; no process may be left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from app.cli.client import ServiceClient
from app.embedded.own_key import read_own_key
from app.embedded.service import child_environment, local_url
from app.settings import Settings
from tests.support.families import save_tiny_model

_SECONDS = 120


def environment(**more: str) -> dict[str, str]:
    """This process's, without settings of whoever runs the tests; trials of its tiny base take a while."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MILP_")}
    own = {"MILP_BASE_MODEL": "tiny", "MILP_PORT": "0", "MILP_TRIAL_EPOCHS": "40", "MILP_AVERAGED": "1"}
    return {**kept, **own, **more}


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_base: str) -> Path:
    """A working folder with nothing but a base, so that no `.env` is read, with a short path."""
    made = tmp_path_factory.mktemp("up")
    (made / "tiny").symlink_to(tiny_base)
    return made


class Up:
    """A running `milp up`: its process, where it answers, and all processes below it."""

    def __init__(self, process: subprocess.Popen[str], data_dir: Path) -> None:
        self.process, self.data_dir = process, data_dir
        assert process.stdout is not None
        self.said: list[str] = []
        for line in process.stdout:
            self.said.append(line)
            if found := re.search(r"Ready at (\S+)", line):
                self.url = found.group(1)
            if "Ctrl-C stops everything" in line:
                break
        else:
            pytest.fail("".join(self.said))
        self.below = psutil.Process(process.pid).children(recursive=True)

    def client(self) -> ServiceClient:
        """One with the key in the data folder."""
        return ServiceClient(self.url, read_own_key(self.data_dir))

    def part(self, word: str) -> psutil.Process:
        """The topmost process below with `word` in its command line."""
        return next(process for process in self.below if any(word in part for part in process.cmdline()))

    def rest(self) -> str:
        """What it says until it ends."""
        return self.process.communicate(timeout=_SECONDS)[0]


@contextmanager
def milp_up(folder: Path, *options: str, **settings: str) -> Iterator[Up]:
    """`milp up` in `folder`, once it is ready; killed at the end if it still runs."""
    command = [sys.executable, "-m", "app.cli.main", "up", "--data-dir", str(folder / "data"), *options]
    with subprocess.Popen(
        command, cwd=folder, env=environment(**settings), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield Up(process, folder / "data")
        finally:
            process.kill()


def failing_up(folder: Path, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """`milp up` where it cannot start."""
    command = [sys.executable, "-m", "app.cli.main", "up", "--data-dir", str(folder / "data"), *options]
    return subprocess.run(
        command, cwd=folder, env=environment(**settings), capture_output=True, text=True, timeout=_SECONDS
    )


def survivors(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that do not end within a while, zombies aside."""
    _, alive = psutil.wait_procs(processes, timeout=30)
    return [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def wait_until_busy(client: ServiceClient, job_id: str) -> None:
    """Until a pool process trains."""
    deadline = time.monotonic() + _SECONDS
    while client.job(job_id)["status"] != "evaluating":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def begin_a_job(client: ServiceClient) -> str:
    samples = [{"query": f"What is {i} and {i}?", "response": f"It is {2 * i}, dear."} for i in range(30)]
    answer = client.add_history(
        "anna", {"samples": samples, "personalize": True, "options": {"trials": 14, "epochs": 40}}
    )
    return str(answer["job"]["id"])


@pytest.mark.slow  # half a minute; that a child ends with its parent is also tested in test_die_with_parent.py
@pytest.mark.skipif(sys.platform != "linux", reason="see app.embedded.die_with_parent")
def test_kill_minus_nine_on_the_parent_leaves_no_orphan_even_while_a_pool_process_trains(folder: Path) -> None:
    with milp_up(folder) as up, up.client() as client:
        wait_until_busy(client, begin_a_job(client))
        below = psutil.Process(up.process.pid).children(recursive=True)
        assert len(below) > 3  # redis, celery, uvicorn, and celery's pool process
        up.process.kill()
        assert survivors(below) == []


@pytest.mark.slow  # half a minute; how a child that was killed is told of is also tested in test_child.py
@pytest.mark.skipif(sys.platform != "linux", reason="see app.embedded.die_with_parent")
def test_kill_minus_nine_on_the_worker_leaves_no_orphan_and_ends_the_service_with_its_log(folder: Path) -> None:
    with milp_up(folder) as up, up.client() as client:
        wait_until_busy(client, begin_a_job(client))
        below = psutil.Process(up.process.pid).children(recursive=True)
        up.part("celery").kill()
        said = up.rest()
        assert up.process.returncode == 1
        assert survivors(below) == []
    assert "milp: The worker was killed by signal 9. Its log is" in said
    assert "  | " in said
    assert "Traceback" not in said


def test_ctrl_c_and_sigterm_stop_every_part_and_a_restart_goes_on_where_it_was(folder: Path) -> None:
    with milp_up(folder) as up, up.client() as client:
        assert len({up.part(word).pid for word in ("redis-server", "celery", "uvicorn")}) == 3
        job_id = begin_a_job(client)
        wait_until_busy(client, job_id)
        second = failing_up(folder)
        assert second.returncode == 1
        (line,) = second.stderr.splitlines()
        assert line.startswith("milp: A service is already running in ")
        assert f"(at {up.url}, process {up.process.pid})" in line
        up.process.send_signal(signal.SIGINT)
        assert up.rest().strip() == "Stopped."
        assert up.process.returncode == 0
        assert survivors(up.below) == []
    with milp_up(folder) as up, up.client() as client:
        assert client.user("anna")["samples"] == 30
        wait_until_busy(client, job_id)
        up.process.send_signal(signal.SIGTERM)
        assert up.rest().strip() == "Stopped."
        assert up.process.returncode == 0
        assert survivors(up.below) == []


def test_a_port_in_use_is_told_in_one_line_and_nothing_is_left(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        failed = failing_up(folder, "--port", str(port))
    assert failed.returncode == 1
    (line,) = failed.stderr.splitlines()
    assert line.startswith(f"milp: The API cannot use port {port} on 127.0.0.1 (Address already in use).")
    assert not (folder / "data" / "redis").exists()


def test_a_base_model_that_is_none_ends_the_start_with_the_reason(folder: Path) -> None:
    (folder / "empty").mkdir()
    failed = failing_up(folder, MILP_BASE_MODEL=str(folder / "empty"))
    assert failed.returncode == 1
    (line,) = failed.stderr.splitlines()
    assert "The base model cannot be used" in line
    assert "MILP_BASE_MODEL" in line
    assert not [p for p in psutil.process_iter() if str(folder) in " ".join(_command_line(p))]


def test_a_base_model_of_an_unknown_architecture_ends_the_start_with_the_reason(folder: Path) -> None:
    save_tiny_model("llama", folder / "base")
    config = json.loads((folder / "base" / "config.json").read_text())
    (folder / "base" / "config.json").write_text(json.dumps({**config, "model_type": "wonder"}))
    failed = failing_up(folder, MILP_BASE_MODEL=str(folder / "base"))
    assert failed.returncode == 1
    (line,) = failed.stderr.splitlines()
    assert "The base model cannot be used" in line
    assert "`wonder`" in line
    assert "Set MILP_BASE_MODEL" in line


@pytest.mark.parametrize("url", ["redis://:secret@127.0.0.1:{port}/0", "redis+socket:///no-such.sock", "127.0.0.1"])
def test_a_broker_that_does_not_answer_ends_the_start_before_anything_runs(folder: Path, url: str) -> None:
    with socket.socket() as reserved:  # bound and not listening: nobody answers there
        reserved.bind(("127.0.0.1", 0))
        failed = failing_up(folder, MILP_BROKER_URL=url.format(port=reserved.getsockname()[1]))
    assert (failed.returncode, failed.stdout) == (1, "")
    (line,) = failed.stderr.splitlines()
    assert line.startswith("milp: The broker cannot be reached (")
    assert "Start Redis, or correct MILP_BROKER_URL." in line
    assert "secret" not in line
    assert not (folder / "data" / "logs").exists()


def test_a_wrong_setting_is_named() -> None:
    failed = subprocess.run(
        [sys.executable, "-m", "app.cli.main", "up"],
        env=environment(MILP_MAX_QUEUE="many"),
        capture_output=True,
        text=True,
    )
    assert failed.returncode == 1
    assert failed.stderr.startswith("milp: The setting MILP_MAX_QUEUE is wrong: ")


def test_the_parts_read_the_very_settings_of_their_parent(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = settings.model_copy(update={"api_keys": {"secret": "acme"}, "epochs": 7, "broker_url": "redis://x"})
    for name, value in child_environment(mine).items():
        if name.startswith("MILP_"):
            monkeypatch.setenv(name, value)
    assert Settings(_env_file=None) == mine


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8321"),
        ("0.0.0.0", "http://127.0.0.1:8321"),
        ("::", "http://[::1]:8321"),
        ("box.example", "http://box.example:8321"),
    ],
)
def test_the_local_url_is_one_that_can_be_called(settings: Settings, host: str, url: str) -> None:
    assert local_url(settings.model_copy(update={"host": host})) == url


def _command_line(process: psutil.Process) -> list[str]:
    try:
        line: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return line
