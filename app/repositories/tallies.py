"""Tallies: what has happened so far, added up in the transactions in which it happened.

Figures for /metrics that no worker has to be alive for, that cost the same however much has happened, and that never
fall when a user is deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

from sqlalchemy import func
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from app.job_states import TrialState
from app.tables import Tally

Phase = Literal["plan", "train", "generate", "publish"]
"""What a worker spends a step's time on. generate: scoring, most of which is answering; publish: putting a version into
the store."""
Decision = Literal["passed", "refused", "base_won"]
"""Of the gate; where the base itself won the search, there was nothing to ask it."""


class Counted(StrEnum):
    """What is counted."""

    gate = "gate"
    phase = "phase"
    trial = "trial"


LABELS: Mapping[Counted, tuple[str, ...]] = {
    Counted.gate: get_args(Decision),
    Counted.phase: get_args(Phase),
    Counted.trial: tuple(state.value for state in (TrialState.succeeded, TrialState.failed, TrialState.stopped)),
}
"""The kinds there are of each."""


@dataclass(frozen=True, slots=True)
class Sum:
    """How often, and for how many seconds in all."""

    count: int
    seconds: float = 0.0


def add(session: Session, tenant: str, what: Counted, sums: Mapping[str, Sum]) -> None:
    """Add to the tenant's tallies, by label.

    Their rows stay locked until the transaction ends: call it last in it, and for one `Counted` after another in one
    order everywhere (trials, gate, phases), or two transactions may wait for each other.
    """
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    for label, given in sorted(sums.items()):
        row = insert(Tally).values(
            tenant_id=tenant, name=what.value, label=label, count=given.count, seconds=given.seconds
        )
        session.connection().execute(
            row.on_conflict_do_update(
                index_elements=["tenant_id", "name", "label"],
                set_={
                    "count": col(Tally.count) + row.excluded.count,
                    "seconds": col(Tally.seconds) + row.excluded.seconds,
                },
            )
        )


def of_all_tenants(session: Session) -> dict[Counted, dict[str, Sum]]:
    """The sums over all tenants, of each kind there is."""
    sums = select(Tally.name, Tally.label, func.sum(col(Tally.count)), func.sum(col(Tally.seconds)))
    rows = session.exec(sums.group_by(col(Tally.name), col(Tally.label)))
    found = {(name, label): Sum(int(count), float(seconds)) for name, label, count, seconds in rows}
    return {what: {label: found.get((what, label), Sum(0)) for label in labels} for what, labels in LABELS.items()}
