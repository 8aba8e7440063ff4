"""Versions over the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field


class VersionOut(BaseModel):
    """An immutable published stack."""

    id: str
    user_id: str
    job_id: str | None
    active: bool
    layers: str
    n: int
    r: int
    base_digest: str = Field(description="SHA-256 of the base it belongs to")
    passed_gate: bool
    with_memory: bool = Field(description="whether it answers with the memory prompt before each query")
    deleted_samples: list[str] = Field(description="digests of samples it has learned and that were deleted since")
    metrics: dict[str, Any]
    path: str = Field(description="its folder in the adapter store")
    created_at: datetime


class ActiveVersion(BaseModel):
    """Which version answers for the user now; null: none."""

    user_id: str
    version_id: str | None
