"""`python -m benchmarks.load`: what the service holds under load, written to benchmarks/results/load.json.

A thousand users for ten minutes (QUICK=1: two) beside a worker that trains, then ten thousand queued jobs in a service
of their own. Everything runs on this machine, those who ask too. PARTS= names some of crowd and queue, USERS= another
number, SECONDS= another time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks import bounds
from benchmarks.bounds import Bounded, at_least, at_most
from benchmarks.load.queue_length import queue_rows
from benchmarks.load.service import Running, populate, running
from benchmarks.load.watching import Held, Point, Watch, floor_per_minute, look, slope
from benchmarks.rounds import quick
from benchmarks.serve.answers import percentile

USERS = int(os.environ.get("USERS", "1000"))
SECONDS = int(os.environ.get("SECONDS", "120" if quick() else "600"))
WARM_UP = 1 / 3
"""Share of the time whose memory does not count: caches fill, and the last users arrive."""
ARRIVING = 25
"""Users that come in a second. What goes wrong meanwhile counts; how long it takes does not (see `crowd`)."""
SETTLING_SECONDS = 10.0
"""Then it takes so long until what waited is answered."""
REST_SECONDS = 20.0
"""After the last request: threads and connections that nobody needs are gone by then."""
P99_MS = 50.0
MIB_A_MINUTE = 2.0
"""What counts as flat: ten minutes of it are less than a tenth of the process."""
FEWEST_MINUTES = 4
"""Of the memory that counts, for a slope to mean anything. QUICK=1 has fewer, and no row about it."""
LEFT = {"file descriptors": 8, "threads": 8}
"""What a process may hold more at rest than before: pools that had not been filled yet."""
LONGEST_MINUTES = {True: 8.0, False: 30.0}
"""By whether it is the quick run."""
REFUSED_PERCENT = 1.0
"""Of all requests, that may be told to come back later: more would be no service."""
QUICK_FILLING = 200
"""Users asked for beforehand with QUICK=1, which says nothing of memory."""
MODEL_ROUTES = ("answer", "answer, streamed")
CROWD = Path(__file__).with_name("crowd.py")


def main() -> int:
    """The exit status: 0 where every bound held. What measured a part only is not written."""
    began = time.monotonic()
    parts = os.environ.get("PARTS", "crowd queue").split()
    rows: list[Bounded] = []
    if "crowd" in parts:
        with running() as service:
            rows += crowd_rows(service)
    if "queue" in parts:
        with running() as service:
            rows += queue_rows(service)
    rows.append(at_most("all of this took", (time.monotonic() - began) / 60, "minutes", LONGEST_MINUTES[quick()]))
    for row in rows:
        print(f"{'held' if row.held else 'BROKEN':8}{row.what}: {row.value:.4g} {row.unit} (bound {row.bound:.4g})")
    if not {"PARTS", "USERS", "SECONDS"} & set(os.environ):
        print(f"written: {bounds.write('load', 'python -m benchmarks.load', rows).name}")
    print(bounds.in_one_line("load", rows))
    return 0 if all(row.held for row in rows) else 1


def crowd_rows(service: Running) -> list[Bounded]:
    """The rows of many users at once."""
    people = populate(service, USERS)
    filling = people[:QUICK_FILLING] if quick() else people
    _fill_caches(service, [user_id for user_id, _ in filling])
    _crowd(service, people, min(60, SECONDS // 4), USERS)
    time.sleep(REST_SECONDS)
    before = look(service)
    with Watch(service) as watch:
        found = _crowd(service, people, SECONDS, USERS)
    time.sleep(REST_SECONDS)
    after = look(service)
    starts = at_most("starts of the engine", service.engine_starts(), "starts", 1)
    return [*_answered(found), *_flat(watch.memory), *_left(before, after), starts]


def _fill_caches(service: Running, user_ids: list[str]) -> None:
    """Ask for every user, with queries of all lengths, many at once.

    For bank, retrievers, the beginnings of prompts and the kernels of products' shapes these are more than there are
    places: what grows with them grows once, and no further.
    """
    at_once = 2 * service.settings.max_batch_rows
    with (
        httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {service.key}"}, timeout=300) as http,
        ThreadPoolExecutor(at_once) as threads,
    ):

        def ask(number: int) -> httpx.Response:
            body = {"query": "What should I do this morning? " * (1 + number % 60), "max_new_tokens": 16}
            return http.post(f"/v1/users/{user_ids[number]}/responses", json=body)

        for answer in threads.map(ask, range(len(user_ids))):
            answer.raise_for_status()


def _crowd(service: Running, people: list[tuple[str, str]], seconds: int, users: int) -> dict[str, Any]:
    """Let so many ask for so long, once all of them are there."""
    with tempfile.TemporaryDirectory(prefix="milp-crowd-") as folder:
        jobs, out = Path(folder) / "jobs.json", Path(folder) / "out.json"
        jobs.write_text(json.dumps(people), encoding="utf-8")
        seconds += round(users / ARRIVING + SETTLING_SECONDS)
        locust = [
            sys.executable,
            "-m",
            "locust",
            "-f",
            str(CROWD),
            "--headless",
            "--only-summary",
            "--host",
            service.url,
        ]
        subprocess.run(
            [*locust, "-u", str(users), "-r", str(ARRIVING), "-t", f"{seconds}s", "--loglevel", "ERROR"],
            env={
                **os.environ,
                "CROWD_OUT": str(out),
                "CROWD_JOBS": str(jobs),
                "CROWD_KEY": service.key,
                "CROWD_SETTLING": str(SETTLING_SECONDS),
                "CROWD_ADDRESS": urlsplit(service.url).netloc,
            },
            stdout=subprocess.DEVNULL,
            check=False,  # 1 says that something was refused, which is in what it wrote
        )
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def _answered(found: dict[str, Any]) -> list[Bounded]:
    times, refused, wrong = found["times"], found["refused"], found["wrong"]
    asked = sum(map(len, times.values()))
    print(f"{asked} requests answered, {sum(refused.values())} refused with 429 or 503, {len(wrong)} went wrong")
    for name, own in sorted(times.items()):
        print(f"  {name}: {len(own)}, p50 {percentile(own, 0.5):.1f} ms, p99 {percentile(own, 0.99):.1f} ms")
    for text in wrong[:10]:
        print(f"  {text}")
    plain = {name: own for name, own in times.items() if name not in MODEL_ROUTES}
    told_to_wait = sum(refused.values())
    return [
        # Each acts twice a minute, and what comes while they arrive is not counted.
        at_least(f"{USERS:,} users: requests answered", asked, "requests", USERS * SECONDS / 60),
        at_most(f"{USERS:,} users: errors other than 429 and 503", len(wrong), "requests", 0),
        at_most(f"{USERS:,} users: 429 and 503", 100 * told_to_wait / (asked + told_to_wait), "%", REFUSED_PERCENT),
        *(
            at_most(f"{USERS:,} users: {name}, p99", percentile(own, 0.99), "ms", P99_MS)
            for name, own in sorted(plain.items())
        ),
    ]


def _flat(memory: dict[str, list[Point]]) -> list[Bounded]:
    rows = []
    for name, points in sorted(memory.items()):
        settled = [(at, mib) for at, mib in points if at >= WARM_UP * points[-1][0]]
        floor = floor_per_minute(settled)
        print(f"  {name}: most {max(mib for _, mib in points):.0f} MiB; kept, minute by minute:", end=" ")
        print(", ".join(f"{mib:.0f}" for _, mib in floor))
        if quick():
            print(f"  {name}: too short a time to say whether memory grows")
            continue
        if len(floor) < FEWEST_MINUTES:
            raise RuntimeError(f"{name}: its memory was looked at for {len(floor)} whole minutes only")
        rows.append(at_most(f"{name}: memory that is kept grows by", slope(floor), "MiB/min", MIB_A_MINUTE))
    return rows


def _left(before: Held, after: Held) -> list[Bounded]:
    rows = []
    for name in ("API", "worker"):
        for what, held in (("file descriptors", "descriptors"), ("threads", "threads")):
            more = getattr(after, held)[name] - getattr(before, held)[name]
            rows.append(at_most(f"{name} at rest: {what} more than before", more, what, LEFT[what]))
    more = after.connections - before.connections
    return [*rows, at_most("at rest: database connections more than before", more, "connections", 5)]


sys.exit(main())
