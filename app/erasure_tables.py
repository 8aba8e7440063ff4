"""The tables of forgetting: who holds what in memory, what was erased, and who has confirmed it.

Nothing here names a user: an erased one is a digest, the same that stood in the store's paths.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, Index, Text
from sqlmodel import Field, SQLModel

from app.erasure_states import ErasureKind, HolderState
from app.tables import new_id, now, state_column


class Process(SQLModel, table=True):
    """An API process that runs. It may hold users' stacks and texts in memory for as long as its lease lasts:
    a process that could not renew it drops them all by itself.
    """

    __tablename__ = "processes"

    id: str = Field(default_factory=lambda: new_id("process"), primary_key=True, max_length=64)
    name: str = Field(max_length=256, description="machine and process number, for people")
    lease_until: datetime


class Erasure(SQLModel, table=True):
    """Something of a user was erased from database and store; complete once nobody holds it in memory either."""

    __tablename__ = "erasures"
    __table_args__ = (
        Index("ix_erasures_tenant", "tenant_id", "requested_at", "id"),
        Index("ix_erasures_folder", "folder", "completed_at"),
    )

    id: str = Field(default_factory=lambda: new_id("erasure"), primary_key=True, max_length=64)
    tenant_id: str = Field(max_length=64)
    folder: str = Field(max_length=128, description="the user's in the store; ends with the user's digest")
    kind: ErasureKind = Field(sa_column=state_column(ErasureKind))
    removed: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    """`app.schemas.erasures.Removed` as JSON."""
    requested_at: datetime = Field(default_factory=now)
    completed_at: datetime | None = None
    receipt: str = Field(default="", sa_column=Column(Text, nullable=False))
    """A JSON Web Signature; signed anew when it is complete."""


class Holder(SQLModel, table=True):
    """Who may still have held what was erased: an API process, or a step that a worker was at."""

    __tablename__ = "erasure_holders"
    __table_args__ = (Index("ix_erasure_holders_name", "name", "state"),)

    erasure_id: str = Field(primary_key=True, foreign_key="erasures.id", max_length=64, ondelete="CASCADE")
    name: str = Field(primary_key=True, max_length=64, description="a process's id, or `step_` and the step's")
    where: str = Field(max_length=256, description="machine and process number, for people")
    state: HolderState = Field(default=HolderState.waiting, sa_column=state_column(HolderState))
    lease_until: datetime | None = Field(default=None, description="of a step; a process has its own")
    at: datetime | None = Field(default=None, description="when it was no longer waited for")


class SigningKey(SQLModel, table=True):
    """A key that receipts are signed with, made when first needed; the newest signs, the others still verify."""

    __tablename__ = "signing_keys"

    id: str = Field(primary_key=True, max_length=64, description="as in a receipt's header (`kid`)")
    private_pem: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(default_factory=now)
