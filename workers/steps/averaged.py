"""A configuration trained from several seeds in several orders, as the average of what came out.

One training of a few steps on a hundred samples says much about its seed, and most about the samples it saw last; the
average of several answers better, and its loss is lower (evaluation/README.md, "What was tried"). Must not know trials
or jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.averaging import average_stacks
from engine.errors import DoesNotFitError
from engine.stack import Stack
from engine.training import Candidate, TrainedCandidate
from workers.failures import StepFailedError
from workers.search.seeds import derive_seed


def members_of(candidate: Candidate, count: int) -> list[Candidate]:
    """`count` candidates of one configuration with unlike seeds, orders and keys; the first is the candidate itself."""
    others = (
        replace(
            candidate,
            key=f"{candidate.key}.{place}",
            seed=derive_seed(candidate.seed, "member", place),
            order_seed=derive_seed(candidate.seed, "order", place),
        )
        for place in range(1, count)
    )
    return [candidate, *others]


def averaged(members: Sequence[TrainedCandidate]) -> Stack:
    """The average of those that trained well.

    Raises:
        StepFailedError: `training_diverged`, all of them did.
        DoesNotFitError: memory did not suffice for any.
    """
    stacks = [member.stack for member in members if member.stack is not None]
    if stacks:
        return average_stacks(stacks)
    if not all(member.fits for member in members):
        raise DoesNotFitError("memory does not suffice for the stack that was chosen.")
    raise StepFailedError(
        "training_diverged",
        "The training of the stack that was chosen diverged from every seed. A lower learning_rate helps.",
    )
