"""Erasures over the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.erasure_states import ErasureKind, HolderState


class Removed(BaseModel):
    """What is gone from database and store."""

    samples: int
    samples_digest: str = Field(
        description="SHA-256 over the samples' digests, sorted, a line each; a sample's is SHA-256 over query and "
        "response, runs of whitespace as one space, a line each"
    )
    jobs: int = Field(description="jobs deleted, with their trials and events")
    jobs_cancelled: int = Field(description="jobs that had not ended")
    trials: int
    versions: list[str] = Field(description="their ids")
    stacks: int = Field(description="folders of versions in the store")
    webhook_deliveries: int = Field(description="what webhooks were told of the user's jobs, or were still to be told")
    remembered_answers: int = Field(description="answers kept for an Idempotency-Key that named the user")


class HolderOut(BaseModel):
    """Who may have held something of the user in memory when it was erased."""

    name: str = Field(description="an API process, or `step_` and a step that a worker was at")
    where: str = Field(description="machine and process number")
    state: HolderState = Field(
        description="waiting; forgot: it dropped what it held, requests in flight had ended; ended: the process is "
        "gone; lapsed: it fell silent for longer than its lease, after which it drops everything by itself"
    )
    at: datetime | None


class ErasureOut(BaseModel):
    """Something of a user was erased; complete once nobody holds it in memory any more."""

    id: str
    kind: ErasureKind = Field(description="user: everything; history: samples and what was learned from them")
    user_digest: str = Field(description='32 hex digits of SHA-256 over the JSON text ["<tenant>", "<user id>"]')
    state: Literal["erasing", "complete"]
    removed: Removed
    requested_at: datetime
    completed_at: datetime | None
    holders: list[HolderOut]
    receipt: str = Field(
        description="all of this as a JSON Web Signature (EdDSA); GET /v1/erasures/keys has the public keys"
    )


class SigningKeyOut(BaseModel):
    """A JSON Web Key (RFC 7517, 8037)."""

    kty: str
    crv: str
    x: str
    kid: str
    use: str
    alg: str


class SigningKeys(BaseModel):
    """A JSON Web Key Set."""

    keys: list[SigningKeyOut]


class Retraining(BaseModel):
    """What to send to have the user learned anew."""

    method: str
    path: str


class SampleDeleted(BaseModel):
    """A sample is gone; versions that had learned it are marked, for they cannot unlearn it."""

    user_id: str
    sample_id: int
    digest: str
    versions_marked: list[str] = Field(
        description="versions that have learned it; they go on answering, with a warning"
    )
    active_version_marked: bool
    jobs_cancelled: int = Field(description="unfinished jobs that were learning it")
    job_id: str | None = Field(description="the job that learns the history without it, if one was asked for")
    retrain: Retraining | None = Field(description="how to have it learned without; null if that was asked for")


class LearnedSample(BaseModel):
    """A sample that a version was trained on."""

    digest: str
    sample_id: int | None = Field(description="null: it was deleted since")


class LearnedSamples(BaseModel):
    """Everything a version was trained on."""

    version_id: str
    samples: list[LearnedSample]
    deleted: int
