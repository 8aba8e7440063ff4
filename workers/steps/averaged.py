"""A configuration trained from several seeds, as the average of what came out.

One training of a few steps on a hundred samples says much about its seed; the average of several answers better, and
its loss is lower (evaluation/README.md, "What was tried"). Must not know trials or jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.averaging import average_stacks
from engine.stack import Stack
from engine.training import Candidate, TrainedCandidate
from workers.search.seeds import derive_seed


def members_of(candidate: Candidate, count: int) -> list[Candidate]:
    """`count` candidates of one configuration with unlike seeds and keys; the first is the candidate itself."""
    others = (
        replace(candidate, key=f"{candidate.key}.{place}", seed=derive_seed(candidate.seed, "member", place))
        for place in range(1, count)
    )
    return [candidate, *others]


def averaged(members: Sequence[TrainedCandidate]) -> Stack | None:
    """The average of those that trained well; None where none did."""
    stacks = [member.stack for member in members if member.stack is not None]
    return average_stacks(stacks) if stacks else None
