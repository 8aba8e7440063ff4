"""Jobs, their trials and their events over the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from app.job_states import JobStatus, TrialOrigin, TrialState


class JobError(BaseModel):
    code: str
    detail: str


class JobSummary(BaseModel):
    """A job in a list."""

    id: str
    user_id: str
    status: JobStatus
    trials_planned: int
    trials_done: int = Field(description="ended, well or not")
    seconds_left: float | None = Field(description="predicted; null where nothing can be said yet")
    waits_for: str | None = Field(description="the user's oldest unfinished job: this one begins after it has ended")
    error: JobError | None
    version_id: str | None = Field(description="the version it published")
    options: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class FrontPoint(BaseModel):
    """A trial that no other beats in both loss and ROUGE-L."""

    trial: int
    loss: float
    rouge_l: float
    layers: str
    n: int
    r: int


class BestTrial(BaseModel):
    """The trial with the highest ROUGE-L so far; the lower loss where two are equal."""

    trial: int
    rouge_l: float
    loss: float


class JobOut(JobSummary):
    """A job with all that is known of it."""

    best: BestTrial | None
    pareto_front: list[FrontPoint]
    report: dict[str, Any] | None = Field(description="what publishing found; see README")


class TrialOut(BaseModel):
    """One configuration, trained and evaluated."""

    number: int = Field(description="0 is the base itself")
    round: int
    origin: TrialOrigin
    state: TrialState
    layers: str = Field(description="one bit per decoder layer, first layer first")
    n: int = Field(description="LoRAs per projection")
    r: int = Field(description="rank of each")
    seed: int
    loss: float | None = Field(
        description="validation cross-entropy per response token, nats, after its last pass, like the three that follow"
    )
    loss_se: float | None
    rouge_l: float | None = Field(description="validation ROUGE-L, 0 to 100")
    rouge_l_se: float | None
    parameters: int | None
    seconds: float | None
    stopped_after: int | None = Field(
        description="passes after which it was stopped early, for it could not win any more; null for all others"
    )
    error: JobError | None
    finished_at: datetime | None
