"""A judge to ask over real HTTP: a small server in a thread that answers as a chat endpoint does."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, str]


class Server:
    """Answers each question by `reply`, which gets answers A and B; the requests it got are kept."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.reply: Callable[[str, str], Reply] = lambda _a, _b: (200, "Verdict: tie")
        self.encoding = "identity"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append((self.path, dict(self.headers), body))
                asked = body["messages"][0]["content"]
                found = re.search(r"<answer_A>\n(.*)\n</answer_A>\n<answer_B>\n(.*)\n</answer_B>", asked)
                assert found
                status, text = outer.reply(*found.groups())
                content = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Content-Encoding", outer.encoding)
                self.send_header("Retry-After", "0")
                with suppress(ConnectionError):  # one that was too slow is not waited for
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
