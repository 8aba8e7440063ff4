"""The users, as locust runs them: each looks at jobs and lists, sends history, follows events and asks, with pauses.

For `python -m locust -f` in a process of its own: gevent changes what sockets and threads are. Must not know the
service but over HTTP. What was asked and how long it took is written to the file that CROWD_OUT names.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import defaultdict
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any

from locust import FastHttpUser, between, events, task

OUT, JOBS = Path(os.environ["CROWD_OUT"]), json.loads(Path(os.environ["CROWD_JOBS"]).read_text(encoding="utf-8"))
ADDRESS = os.environ["CROWD_ADDRESS"].split(":")[0], int(os.environ["CROWD_ADDRESS"].split(":")[1])
HEADERS = {"Authorization": f"Bearer {os.environ['CROWD_KEY']}"}
HONEST = (429, 503)
"""Refusals that say when to come back."""
FOLLOWED_SECONDS = 5.0
"""How long events of a job are followed."""
TOKENS = 16

_numbers = count()
_times: dict[str, list[float]] = defaultdict(list)
_refused: dict[str, int] = defaultdict(int)
_wrong: list[str] = []
_counted_from = float("inf")


@events.spawning_complete.add_listener
def _all_are_there(**_: Any) -> None:
    """To make a user costs locust some 15 ms, in which it reads no answer: times count once that is made up for."""
    global _counted_from
    _counted_from = time.time() + float(os.environ["CROWD_SETTLING"])


@events.request.add_listener
def _noted(
    name: str, start_time: float, response_time: float, exception: Exception | None, response: Any = None, **_: Any
) -> None:
    if start_time < _counted_from and exception is None:
        return
    status = getattr(response, "status_code", 0)
    if status in HONEST and response.headers.get("Retry-After"):
        _refused[name] += 1
    elif exception is not None or not 200 <= status < 300:
        _wrong.append(f"{name}: {status} {exception!r}"[:200])
    else:
        _times[name].append(response_time)


@events.quitting.add_listener
def _written(**_: Any) -> None:
    OUT.write_text(json.dumps({"times": _times, "refused": _refused, "wrong": _wrong}), encoding="utf-8")


class User(FastHttpUser):
    """One of them, with a history and a job of its own. The weights are out of forty."""

    wait_time = between(20, 40)  # seconds, as of somebody who reads what came
    network_timeout = connection_timeout = 120.0

    def on_start(self) -> None:
        self.user, self.job = JOBS[next(_numbers) % len(JOBS)]

    @task(20)
    def look_at_the_job(self) -> None:
        self._get(f"/v1/jobs/{self.job}", "job poll")

    @task(4)
    def look_at_the_user(self) -> None:
        self._get(f"/v1/users/{self.user}", "user")

    @task(4)
    def list_jobs(self) -> None:
        self._get("/v1/jobs?limit=20", "list of jobs")

    @task(3)
    def list_the_history(self) -> None:
        self._get(f"/v1/users/{self.user}/history?limit=20", "list of samples")

    @task(3)
    def send_history(self) -> None:
        samples = [
            {"query": f"What about {random.randrange(10**9)}?", "response": f"It is {random.randrange(10**9)}."}
            for _ in range(random.randint(1, 10))
        ]
        self.client.post(
            f"/v1/users/{self.user}/history", json={"samples": samples}, headers=HEADERS, name="history post"
        )

    @task(2)
    def follow_the_events(self) -> None:
        """The time is that to the first event; the stream is left when it has been followed for a while."""
        began, counts, name = time.perf_counter(), time.time() >= _counted_from, "events, to the first"
        connection = HTTPConnection(*ADDRESS, timeout=120)
        try:
            connection.request("GET", f"/v1/jobs/{self.job}/events", headers=HEADERS)
            answer = connection.getresponse()
            if answer.status == 200 and answer.readline().startswith(b"id:"):
                if counts:
                    _times[name].append(1e3 * (time.perf_counter() - began))
                time.sleep(FOLLOWED_SECONDS)
            else:
                _wrong.append(f"{name}: {answer.status}")
        except OSError as error:
            _wrong.append(f"{name}: {error!r}")
        finally:
            connection.close()

    @task(3)
    def ask(self) -> None:
        self._ask(stream=False)

    @task(1)
    def ask_and_read_along(self) -> None:
        self._ask(stream=True)

    def _ask(self, stream: bool) -> None:
        body = {"query": "What should I do this morning?", "max_new_tokens": TOKENS, "stream": stream}
        name = "answer, streamed" if stream else "answer"
        path = f"/v1/users/{self.user}/responses"
        with self.client.post(path, json=body, headers=HEADERS, name=name, catch_response=True) as answer:
            # What goes wrong once the first token is out is told in the stream, whose status was 200.
            if stream and answer.status_code == 200 and "event: done" not in answer.text:
                answer.failure(f"a stream without its end: {answer.text[-100:]}")

    def _get(self, path: str, name: str) -> None:
        self.client.get(path, headers=HEADERS, name=name)
