"""Makers for the tests of publishing: jobs that run to their end, and what they publish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from app.repositories import users
from app.tables import Job
from engine.history import Sample
from engine.stack import Stack
from engine.training import TrainedCandidate, train_candidates
from tests.workers.helpers import TENANT, USER, add_job, add_person, job_now, run_all, versions_now
from workers.context import Context
from workers.search.winner import Winner


def published(context: Context, **options: Any) -> Job:
    add_person(context.database)
    job = add_job(context.database, context.settings, **options)
    run_all(context)
    return job_now(context.database, job)


def default_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that two histories publish stacks of one shape, trained from the same seed."""
    reason = "The test wants it."
    monkeypatch.setattr("workers.steps.report.choose_winner", lambda _observations, _base: Winner(1, reason))


def published_stack(context: Context, pairs: list[Sample], user_id: str) -> Stack:
    """What a job on this history publishes."""
    add_person(context.database, pairs, user_id=user_id)
    job = add_job(context.database, context.settings, user_id=user_id, epochs=2)
    run_all(context)
    (version,) = [row for row in versions_now(context.database) if row.job_id == job.id]
    return context.store.load(version.path, context.base)


def same(one: Stack, other: Stack) -> bool:
    """Whether two stacks of one shape hold the very same numbers."""
    assert one.configuration == other.configuration
    halves = ((one.a, other.a), (one.b, other.b))
    return all(torch.equal(tensor, theirs[name]) for mine, theirs in halves for name, tensor in mine.items())


def diverging(*keys: str) -> Callable[..., list[TrainedCandidate]]:
    """Training in which the candidates with these keys diverge."""

    def train(*positional: Any, **named: Any) -> list[TrainedCandidate]:
        trained = train_candidates(*positional, **named)
        return [replace(one, stack=None, error="training diverged") if one.key in keys else one for one in trained]

    return train


def active(context: Context) -> str | None:
    with context.database.read() as session:
        return users.get_user(session, TENANT, USER).active_version_id
