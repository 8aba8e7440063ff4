"""Clocks that jump, ahead and back, while a job runs: on SQLite, whose clock is the machine's."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.repositories import steps
from app.settings import Settings
from app.tables import Step
from benchmarks.bounds import at_least, at_most
from tests.faults.figures import Figures
from tests.support.clocks import clock_off_by
from tests.support.families import save_tiny_model
from tests.workers.helpers import add_job, add_person, assert_ended_well, job_now
from workers.context import Context
from workers.dispatcher import Dispatcher
from workers.runner import run_step

LEASE_SECONDS = 0.5
BOUND_SECONDS = 60.0
HOURS = [0, 1, -1, 24, -24, 24 * 400, -24 * 400]


@pytest.fixture
def context(settings: Settings, sqlite_url: str, tmp_path: Path) -> Iterator[Context]:
    made = Context(
        settings.model_copy(
            update={
                "database_url": sqlite_url,
                "base_model": str(save_tiny_model("llama", tmp_path / "base")),
                "dtype": "float32",
                "device": "cpu",
                "torch_threads": 1,
                "max_new_tokens": 4,
                "max_sequence_tokens": 48,
                "trials_per_step": 1,
                "lease_seconds": LEASE_SECONDS,
            }
        )
    )
    yield made
    made.database.dispose()


def test_a_job_goes_on_whatever_the_clock_says(context: Context, figures: Figures, moments: random.Random) -> None:
    """At each look the clock is another; every third step is claimed and left by a worker that dies."""
    jumps, longest = 0, 0.0
    for number in range(figures.rounds(4, 1)):
        user_id = f"person-{number}"
        add_person(context.database, user_id=user_id)
        job = add_job(context.database, context.settings, user_id, trials=4)
        began = time.monotonic()
        while not job_now(context.database, job).status.is_final:
            assert time.monotonic() - began < BOUND_SECONDS, "the job does not go on"
            rung: list[Step] = []
            dispatcher = Dispatcher(
                context.database, rung.append, every_seconds=1, max_attempts=1000, lease_seconds=LEASE_SECONDS
            )
            with clock_off_by(moments.choice(HOURS)):
                jumps += 1
                dispatcher.look()
                for step_id in [step.id or 0 for step in rung]:
                    if moments.random() < 1 / 3:
                        with context.database.write() as session:
                            steps.claim(session, step_id, "dies", LEASE_SECONDS)
                    else:
                        run_step(context, step_id)
        longest = max(longest, time.monotonic() - began)
        assert_ended_well(context.database, job, trials=4)
    figures.hold(
        at_least("clock jumps by up to 400 days", jumps, "jumps", 10),
        at_most("clock jumps: longest job", round(longest, 1), "s", BOUND_SECONDS),
    )
