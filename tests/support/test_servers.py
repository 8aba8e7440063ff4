"""The tests' own servers: they keep what they must and leave nobody behind."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import redis

from tests.support.servers import RedisServer

REPOSITORY = Path(__file__).resolve().parents[2]


def test_redis_has_everything_again_after_being_killed(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        client.set("key", "value")
    redis_server.kill()
    assert not redis_server.running
    with redis.Redis.from_url(redis_server.url) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    redis_server.start()
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        assert client.get("key") == "value"


@pytest.mark.parametrize("how", ["stop", "kill", "leave"])
def test_every_test_finds_an_empty_redis_running(redis_server: RedisServer, how: str) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")
    if how != "leave":
        getattr(redis_server, how)()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_servers_end_when_the_process_that_started_them_is_killed() -> None:
    program = (
        "import sys, time; from pathlib import Path; from tests.support.servers import PostgresServer, RedisServer\n"
        "folders = [Path(sys.argv[1]) / name for name in ('r', 'p')]; [folder.mkdir() for folder in folders]\n"
        "servers = [RedisServer(folders[0]), PostgresServer(folders[1])]; [server.start() for server in servers]\n"
        "print('ready', flush=True); time.sleep(600)"
    )
    with tempfile.TemporaryDirectory(prefix="milp-", ignore_cleanup_errors=True) as folder:
        # PostgreSQL's own user must be able to enter.
        Path(folder).chmod(0o755)
        starter = subprocess.Popen(
            [sys.executable, "-c", program, folder], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        assert starter.stdout is not None
        with starter.stdout:
            assert starter.stdout.readline() == "ready\n"
        servers = psutil.Process(starter.pid).children(recursive=True)
        names = set()
        for server in servers:
            with suppress(psutil.NoSuchProcess):  # PostgreSQL's helpers come and go
                names.add(server.name())
        assert {"redis-server", "postgres"} <= names
        starter.kill()
        starter.wait()
        _, alive = psutil.wait_procs(servers, timeout=60)
        assert alive == []
