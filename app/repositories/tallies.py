"""Tallies: what has happened so far, added up in the transactions in which it happened.

Figures for /metrics that no worker has to be alive for, that cost the same however much has happened, and that never
fall when a user is deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import func
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from app.tables import Tally


class Counted(StrEnum):
    """What is counted; its labels are of one kind."""

    gate = "gate"
    """Decisions of the gate: passed, refused, base_won."""
    phase = "phase"
    """What steps spend their time on: plan, train, generate, publish."""
    trial = "trial"
    """Trials that ended, by their state."""


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


def of_all_tenants(session: Session) -> dict[tuple[str, str], Sum]:
    """All tallies by what is counted and label."""
    sums = select(Tally.name, Tally.label, func.sum(col(Tally.count)), func.sum(col(Tally.seconds)))
    rows = session.exec(sums.group_by(col(Tally.name), col(Tally.label)))
    return {(name, label): Sum(int(count), float(seconds)) for name, label, count, seconds in rows}
