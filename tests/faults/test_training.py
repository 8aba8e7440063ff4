"""Training that diverges, and training that memory does not suffice for: the job goes on without what failed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from app.job_states import TrialState
from app.settings import Settings
from benchmarks.bounds import at_least
from engine.base import Base, load_base
from engine.configuration import Configuration
from engine.history import Sample
from engine.training import Candidate, Course, TrainedCandidate, TrainingSettings, train_group
from tests.faults.figures import Figures
from tests.support.families import save_tiny_model
from tests.workers.helpers import add_job, add_person, job_now, run_all, samples, trials_now, versions_now
from workers.context import Context

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = TrainingSettings(4e-3, 1e-4, 0.1, batch_size=4, epochs=3, max_gradient_norm=1.0, max_sequence_tokens=48)
POISON = "zebra"


@pytest.fixture
def tiny(tmp_path: Path) -> Base:
    return load_base(str(save_tiny_model("llama", tmp_path / "base")), device="cpu", dtype="float32", threads=1)


def equal(one: TrainedCandidate, other: TrainedCandidate) -> bool:
    if one.stack is None or other.stack is None:
        return False
    a, b = one.stack, other.stack
    halves = ((a.a, b.a), (a.b, b.b))
    return all(torch.allclose(x[name], y[name], rtol=1e-4, atol=1e-5) for x, y in halves for name in x)


def test_a_candidate_that_diverges_in_a_group_changes_no_other(
    tiny: Base, figures: Figures, moments: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong: list[str] = []
    course = Course(samples(12), SETTINGS)
    candidates = [Candidate(str(i), Configuration((True, True, True), 1, 8), seed=i) for i in range(4)]
    alone = [train_group(tiny, [candidate], course, places=1)[0] for candidate in candidates]
    original = torch.optim.AdamW.step
    for number in range(figures.rounds(30, 10)):
        poisoned, at = moments.randrange(4), moments.randrange(9)
        value = moments.choice([float("nan"), float("inf"), -float("inf"), 3e38])
        calls = [0]

        def step(optimizer: torch.optim.AdamW, *more: object, at: int = at + 1, calls: list[int] = calls) -> object:
            calls[0] += 1
            done = original(optimizer, *more)  # type: ignore[arg-type]
            if calls[0] == 4 * (at - 1) + poisoned + 1:  # noqa: B023 - called within the round
                parameters = [p for group in optimizer.param_groups for p in group["params"]]
                chosen = moments.choice(parameters).data.view(-1)
                chosen[moments.randrange(len(chosen))] = value  # noqa: B023 - called within the round
            return done

        monkeypatch.setattr(torch.optim.AdamW, "step", step)
        together = train_group(tiny, candidates, course, places=4)
        monkeypatch.undo()
        wrong += [f"round {number}: {i}" for i in range(4) if i != poisoned and not equal(together[i], alone[i])]
        if together[poisoned].stack is not None and value != 3e38:
            wrong.append(f"round {number}: {value} in {poisoned} was not noticed")
    figures.none_of(wrong, "one candidate of a group diverges: others that changed", "candidates")


def test_a_history_that_makes_every_training_diverge_fails_its_trials_with_a_reason_and_not_its_job(
    settings: Settings, sqlite_url: str, tiny: Base, figures: Figures, moments: random.Random
) -> None:
    """A word of it, somewhere in the train part, has an embedding of a base that overflows."""
    with torch.no_grad():
        ids = AutoTokenizer.from_pretrained(tiny.name).encode(f" {POISON}", add_special_tokens=False)
        tiny.model.get_input_embeddings().weight[ids[-1]] = float("inf")  # type: ignore[operator]
    mine = {"database_url": sqlite_url, "trials_per_step": 2, "max_new_tokens": 4, "max_sequence_tokens": 48}
    context = Context(settings.model_copy(update=mine))
    context.base = tiny
    wrong: list[str] = []
    for number in range(figures.rounds(3, 1)):
        history = samples(20)
        place = moments.randrange(12)
        poisoned = history[place]
        history[place] = Sample(poisoned.query, f"A {POISON} and a {POISON}.", poisoned.time)
        add_person(context.database, history, f"person-{number}")
        job = add_job(context.database, context.settings, f"person-{number}", trials=4)
        run_all(context)
        ended, (_, *others) = job_now(context.database, job), trials_now(context.database, job)
        if ended.status != "succeeded":
            wrong.append(f"round {number}: {ended.error}")
        wrong += [
            f"round {number}: trial {trial.number} is {trial.state}"
            for trial in others
            if trial.state != TrialState.failed or (trial.error or {}).get("code") != "training_diverged"
        ]
    assert versions_now(context.database) == []
    context.database.dispose()
    figures.none_of(wrong, "a poison history: jobs that failed, trials without a reason", "jobs and trials")


@pytest.mark.timeout(900)
def test_training_in_too_little_memory_ends_for_each_candidate_with_its_weights_or_a_reason(
    figures: Figures, moments: random.Random
) -> None:
    ample, wrong, short, fitted = trained_in(0), list[str](), 0, 0
    # Less and less, until some do not fit; between none and all is what the random ones find.
    less = iter((1400, 1000, 700, 500, 350, 250))
    further = [moments.randrange(500, 3500) for _ in range(figures.rounds(3, 0))]
    while room := (next(less, 0) if not short else 0) or (further.pop() if further else 0):
        found = trained_in(room)
        short += found.count("does not fit")
        fitted += sum(got == kept for got, kept in zip(found, ample, strict=True))
        wrong += [
            f"{room} MiB: {got}" for got, kept in zip(found, ample, strict=True) if got not in (kept, "does not fit")
        ]
    figures.hold(
        at_least(
            "out of memory in training: candidates that ended with their weights all the same", fitted, "candidates", 1
        ),
        at_least("out of memory in training: candidates that failed with a reason", short, "candidates", 1),
    )
    figures.none_of(
        wrong, "out of memory in training: candidates with neither their weights nor a reason", "candidates"
    )


def trained_in(mebibytes: int) -> list[str]:
    """What became of each candidate, in a process that may grow by so much; 0: by any amount."""
    command = [sys.executable, "-m", "tests.faults.little_memory", str(mebibytes)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, f"{mebibytes} MiB: {ended.stderr[-2000:]}"
    told: list[str] = json.loads(ended.stdout.splitlines()[-1])
    return told
