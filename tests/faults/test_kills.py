"""A whole service whose processes, broker and database are killed at random moments, over and over."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import Settings
from benchmarks.bounds import at_least, at_most
from tests.faults.figures import Figures
from tests.faults.house import LEASE_SECONDS, PATIENCE, House
from tests.support.keys import KEYS
from tests.support.servers import PostgresServer, RedisServer
from workers.context import Context
from workers.leftovers import sweep

DATABASE = "faults"


@pytest.fixture
def house(tmp_path: Path, redis_server: RedisServer, moments: random.Random) -> Iterator[House]:
    """One of its own on a PostgreSQL of its own, which a test may restart."""
    with tempfile.TemporaryDirectory(prefix="milp-pg-", ignore_cleanup_errors=True) as folder:
        postgres = PostgresServer(Path(folder), durable=True)
        postgres.start()
        postgres.execute(f"CREATE DATABASE {DATABASE}")
        settings = Settings(
            _env_file=None,
            data_dir=tmp_path / "milp",
            api_keys=KEYS,
            database_url=postgres.url(DATABASE),
            broker_url=redis_server.url,
            torch_threads=1,
            device="cpu",
            dtype="float32",
            trials_per_step=2,
            parallel_steps=2,
            max_new_tokens=4,
            max_sequence_tokens=48,
            lease_seconds=LEASE_SECONDS,
            heartbeat_seconds=0.5,
            dispatch_seconds=0.1,
            # Whoever is killed as often as here is not given up.
            max_attempts=10_000,
        )
        try:
            with House(settings, postgres, redis_server, moments) as running:
                yield running
        finally:
            postgres.stop()


def look_at_all(house: House, figures: Figures, rounds: int, after: str) -> None:
    """Let all jobs end, and hold the house to everything there is to hold."""
    seconds = house.come_to_rest()
    context = Context(house.settings)
    found = house.look_over(lambda: sweep(context))
    context.database.dispose()
    with house.database.read() as session:
        published = len(session.connection().exec_driver_sql("SELECT id FROM versions").all())
    happened = ", ".join(f"{count} x {name}" for name, count in sorted(house.faults.items()))
    print(f"{after}: {happened}; {published} versions, {sum(map(len, house.acknowledged.values()))} samples")
    figures.hold(
        at_least(f"{after}: rounds", sum(house.faults.values()), "rounds", rounds),
        at_least(f"{after}: samples acknowledged meanwhile", sum(map(len, house.acknowledged.values())), "samples", 1),
        at_least(f"{after}: versions published meanwhile", published, "versions", 1),
        at_most(f"{after}: until the last job had ended", round(seconds, 1), "s", PATIENCE),
    )
    found.hold(figures, after)


@pytest.mark.timeout(2400)
def test_apis_workers_and_dispatchers_killed_at_random_lose_nothing(house: House, figures: Figures) -> None:
    rounds = figures.rounds(50, 6)
    kills = [
        ("an API killed", house.kill_api),
        ("a working process killed", house.kill_worker),
        ("a dispatcher killed", house.kill_dispatcher),
        ("a whole worker killed", house.kill_machine),
    ]
    # Each as often as every other, and what is left over to any.
    order = kills * (rounds // len(kills)) + house.moments.choices(kills, k=rounds % len(kills))
    house.moments.shuffle(order)
    for kill in order:
        house.hurt(*kill)
    for name, _ in kills:
        figures.hold(at_least(f"kill -9: {name}", house.faults[name], "times", rounds // len(kills)))
    look_at_all(house, figures, rounds, "kill -9")


@pytest.mark.timeout(2400)
def test_broker_and_database_away_messages_twice_and_workers_that_hang_lose_nothing(
    house: House, figures: Figures
) -> None:
    faults = [
        ("Redis killed", house.kill_redis),
        ("Redis emptied", house.empty_redis),
        ("PostgreSQL restarted", house.restart_postgres),
        ("connections cut", house.cut_connections),
        ("messages sent again in any order", house.send_messages_again),
        ("a worker hung", house.hang_worker),
        ("a worker told to stop", house.stop_worker),
    ]
    # Each at least once, then any.
    order = faults + [house.moments.choice(faults) for _ in range(figures.rounds(8, 0))]
    house.moments.shuffle(order)
    for name, fault in order:
        house.hurt(name, fault)
    look_at_all(house, figures, len(order), "parts away")
