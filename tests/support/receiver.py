"""A receiver of webhooks for tests: a real HTTP server on the loopback that answers as it is told and keeps what came.

Knows nothing of the service.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """A running receiver.

    Args:
        answers: statuses to answer with, one a request; when they are used up, 204.
        headers: sent with each answer.
        hold: while it is clear, requests are kept waiting for their answer.
        names: the host names that TLS clients asked for.
    """

    url: str = ""
    answers: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hold: threading.Event = field(default_factory=threading.Event)
    requests: list[Received] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)

    @property
    def ids(self) -> Counter[str]:
        return Counter(request.id for request in self.requests)

    def wait_for(self, count: int, seconds: float = 60.0) -> list[Received]:
        """The requests, once there are so many."""
        deadline = time.monotonic() + seconds
        while len(self.requests) < count:
            assert time.monotonic() < deadline, f"{len(self.requests)} requests came, not {count}"
            time.sleep(0.02)
        return self.requests


@contextmanager
def receiver(tls: Callable[[ssl.SSLContext], None] | None = None) -> Iterator[Receiver]:
    """A receiver until the block ends. `tls` gives the server's context its certificate."""
    found = Receiver()
    found.hold.set()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with lock:
                found.requests.append(Received(self.path, headers, body))
                status = found.answers.pop(0) if found.answers else 204
            found.hold.wait(60)
            self.send_response(status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(found.body)))
            self.end_headers()
            if status != 204:
                self.wfile.write(found.body)

        def do_GET(self) -> None:
            """Whoever follows a redirect comes with this."""
            found.requests.append(Received(self.path, dict(self.headers.items()), b""))

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hung up is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls(context)
        context.sni_callback = lambda _socket, name, _context: found.names.append(name)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    found.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.hold.set()
        server.shutdown()
        server.server_close()
        thread.join(60)
