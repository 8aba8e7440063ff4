"""Health over the wire."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class Alive(BaseModel):
    status: Literal["alive"] = "alive"


class Part(BaseModel):
    """One thing the service stands on."""

    ok: bool
    needed: bool = Field(description="whether the service is not ready without it")
    detail: str = Field("", description="what is wrong and what to do about it")


class Ready(BaseModel):
    status: Literal["ready"] = "ready"
    parts: dict[str, Part] = Field(description="database, broker, workers, store, base_model")
