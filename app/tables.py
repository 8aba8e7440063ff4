"""The database, one SQLModel class a table. Every row carries its tenant; the database is the truth about every job.

Times are aware UTC (SQLModel's own type). JSON columns hold plain lists and dicts. Must not know HTTP.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Index, Text, UniqueConstraint, false, text
from sqlalchemy import Enum as EnumColumn
from sqlmodel import Field, SQLModel

from app.job_states import JobStatus, StepKind, StepState, TrialOrigin, TrialState


def now() -> datetime:
    return datetime.now(UTC)


def new_id(prefix: str) -> str:
    """An opaque id such as `job_3f9c...`: 12 random bytes in hex."""
    return f"{prefix}_{secrets.token_hex(12)}"


READY_AND_BEGUN = "state = 'ready' AND (kind != 'plan' OR round != 0)"
"""Of steps: those that wait for a worker and do not begin their job. Few, whatever number of jobs is queued."""
_BEGUN = text(READY_AND_BEGUN)
NEVER_REUSE_IDS = {"sqlite_autoincrement": True}
"""SQLite would give a deleted row's id to the next row; a job's split or a message may still name the old one."""


def state_column(states: type[StrEnum]) -> Column[Any]:
    """A column of one of `states`, kept as its plain text: a new state needs no change of a database type."""
    states_as_text = EnumColumn(
        states,
        native_enum=False,
        create_constraint=False,
        length=16,
        values_callable=lambda kinds: [k.value for k in kinds],
    )
    return Column(states_as_text, nullable=False)


class Tenant(SQLModel, table=True):
    """Whose users they are. Made with its first key; a tenant of MILP_API_KEYS alone has no row."""

    __tablename__ = "tenants"

    tenant_id: str = Field(primary_key=True, max_length=64)
    created_at: datetime = Field(default_factory=now)


class ApiKey(SQLModel, table=True):
    """A key of a tenant: what it may do, and the digests of its secrets, never a secret itself.

    Rows stay when a key is revoked: the audit log names keys by id. A limit that is null is the setting's; 0 is none.
    """

    __tablename__ = "api_keys"
    __table_args__ = (Index("ix_api_keys_tenant", "tenant_id", "created_at", "id"),)

    id: str = Field(default_factory=lambda: new_id("key"), primary_key=True, max_length=64)
    tenant_id: str = Field(foreign_key="tenants.tenant_id", max_length=64)
    name: str = Field(max_length=64, description="for people: which client has it")
    scopes: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    secret_digest: str = Field(max_length=64, description="SHA-256 of the secret, hex")
    previous_digest: str | None = Field(default=None, max_length=64, description="that of the secret before a rotation")
    previous_until: datetime | None = Field(default=None, description="when the secret before stops being taken")
    requests_per_minute: int | None = None
    tokens_per_day: int | None = None
    concurrent_jobs: int | None = None
    created_by: str = Field(max_length=64, description="the key that made it, or who else: see app.access.audit")
    created_at: datetime = Field(default_factory=now)
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = Field(default=None, description="to the minute")


class AuditEntry(SQLModel, table=True):
    """A write that was done or refused: who, what, when. Ids only, no texts."""

    __tablename__ = "audit_entries"
    __table_args__ = (
        Index("ix_audit_entries_tenant", "tenant_id", "id"),
        Index("ix_audit_entries_at", "at"),
        NEVER_REUSE_IDS,
    )

    id: int | None = Field(default=None, primary_key=True)
    tenant_id: str = Field(max_length=64)
    key_id: str = Field(max_length=64)
    action: str = Field(max_length=128, description="method and route, or command")
    target: str = Field(max_length=256, description="the ids it was done to, outermost first, with slashes between")
    outcome: str = Field(max_length=64, description="done, or the code of the problem it was refused with")
    request_id: str = Field(default="", max_length=64)
    at: datetime = Field(description="on the database's clock")


class User(SQLModel, table=True):
    """An end user whose history is learned. `active_version_id` is the pointer that publishing flips."""

    __tablename__ = "users"

    tenant_id: str = Field(primary_key=True, max_length=64)
    user_id: str = Field(primary_key=True, max_length=128)
    profile: str = Field(default="", sa_column=Column(Text, nullable=False))
    active_version_id: str | None = Field(default=None, max_length=64)
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)


class SampleRow(SQLModel, table=True):
    """One (query, response) pair. `id` rises in order of arrival and breaks ties of time."""

    __tablename__ = "samples"
    __table_args__ = (
        UniqueConstraint("tenant_id", "user_id", "digest", name="uq_samples_digest"),
        Index("ix_samples_order", "tenant_id", "user_id", "happened_at", "id"),
        NEVER_REUSE_IDS,
    )

    id: int | None = Field(default=None, primary_key=True)
    tenant_id: str = Field(max_length=64)
    user_id: str = Field(max_length=128)
    digest: str = Field(max_length=64, description="SHA-256 of query and response, whitespace normalised")
    query: str = Field(sa_column=Column(Text, nullable=False))
    response: str = Field(sa_column=Column(Text, nullable=False))
    kind: str = Field(default="dialogue", max_length=32)
    happened_at: datetime = Field(description="the sample's own time, or when it was received")
    time_given: bool = Field(default=False, description="whether happened_at came with the sample")


class Job(SQLModel, table=True):
    """One personalization run for one user: a sequence of trials, ending in a published version."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_tenant", "tenant_id", "created_at", "id"),
        Index("ix_jobs_user", "tenant_id", "user_id", "created_at"),
        Index("ix_jobs_status", "status", "created_at"),
        Index("ix_jobs_key", "key_id", "status"),
    )

    id: str = Field(default_factory=lambda: new_id("job"), primary_key=True, max_length=64)
    tenant_id: str = Field(max_length=64)
    user_id: str = Field(max_length=128)
    status: JobStatus = Field(default=JobStatus.queued, sa_column=state_column(JobStatus))
    options: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    """`app.job_options.ResolvedOptions` as JSON."""
    split: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    """Sample ids in `train`, `validation`, `test`, fixed by the first plan step; `stop_reason` by the last."""
    trials_planned: int = 0
    passes: int | None = Field(default=None, description="made by what was published; set when the job ends")
    seconds_left: float | None = None
    report: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    """What publishing found: test scores per method, the gate's decision, why the winner won."""
    error: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    """`{"code", "detail"}` of a failed job."""
    version_id: str | None = Field(default=None, max_length=64)
    created_at: datetime = Field(default_factory=now)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    paused_at: datetime | None = Field(default=None, description="since when, while it is paused")
    paused_seconds: float = Field(default=0.0, sa_column=Column(Float, nullable=False, server_default=text("0")))
    """How long it was paused before, since it started."""
    key_id: str | None = Field(default=None, max_length=64, description="the API key that asked for it")
    request_id: str | None = Field(default=None, max_length=64, description="of the request that caused it")
    trace: str | None = Field(default=None, max_length=64, description="that request's span, as a W3C traceparent")


class Step(SQLModel, table=True):
    """One unit of a job's work, and at once its outbox row.

    A step is written in the transaction that makes it due; the dispatcher then rings the broker with its id, again and
    again with growing pauses, until a worker claims it. `attempt` is the fencing token: it rises with every claim, and
    only the claim that holds the present value may finish the step.
    """

    __tablename__ = "steps"
    __table_args__ = (
        Index("ix_steps_due", "state", "send_after"),
        # Its condition fixes the state; with that as a column too, SQLite takes it and not `ix_steps_due`.
        Index("ix_steps_begun", "state", "send_after", sqlite_where=_BEGUN, postgresql_where=_BEGUN),
        Index("ix_steps_job", "job_id", "state"),
        NEVER_REUSE_IDS,
    )

    id: int | None = Field(default=None, primary_key=True)
    tenant_id: str = Field(max_length=64)
    job_id: str = Field(foreign_key="jobs.id", max_length=64, ondelete="CASCADE")
    kind: StepKind = Field(sa_column=state_column(StepKind))
    round: int = 0
    state: StepState = Field(default=StepState.ready, sa_column=state_column(StepState))
    attempt: int = 0
    owner: str | None = Field(default=None, max_length=128)
    lease_until: datetime | None = None
    send_after: datetime = Field(default_factory=now)
    sends: int = 0
    created_at: datetime = Field(default_factory=now)
    finished_at: datetime | None = None
    leaves: list[str] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    """Folders of the store that it was about to write, until they are named in a row or erased."""


class Trial(SQLModel, table=True):
    """One configuration, trained and evaluated on one user."""

    __tablename__ = "trials"
    __table_args__ = (
        UniqueConstraint("job_id", "number", name="uq_trials_number"),
        UniqueConstraint("job_id", "layers", "n", "r", name="uq_trials_configuration"),
        Index("ix_trials_step", "step_id"),
    )

    id: int | None = Field(default=None, primary_key=True)
    tenant_id: str = Field(max_length=64)
    job_id: str = Field(foreign_key="jobs.id", max_length=64, ondelete="CASCADE")
    step_id: int = Field(foreign_key="steps.id", ondelete="CASCADE")
    number: int = Field(description="0 is always the base itself")
    round: int = 0
    origin: TrialOrigin = Field(sa_column=state_column(TrialOrigin))
    layers: str = Field(max_length=256, description="one bit per decoder layer, first layer first: '0110'")
    n: int
    r: int
    seed: int
    state: TrialState = Field(default=TrialState.planned, sa_column=state_column(TrialState))
    loss: float | None = Field(default=None, description="cross-entropy per response token, nats, validation mean")
    loss_se: float | None = Field(default=None, description="standard error of loss over validation samples")
    rouge_l: float | None = Field(default=None, description="ROUGE-L F, 0 to 100, validation mean")
    rouge_l_se: float | None = None
    scores: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    """`loss` and `rouge_l` of the validation samples, in the split's order, after the last pass, and the `curve`: mean
    losses after each. Of a trial that was stopped the curve and the `forecast` of its scores. Trials from before may
    have `passes` instead: the samples' scores after each."""
    parameters: int | None = Field(default=None, sa_column=Column(BigInteger))
    seconds: float | None = None
    error: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    finished_at: datetime | None = None


class Version(SQLModel, table=True):
    """An immutable published stack of a user, named by its content."""

    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("tenant_id", "user_id", "id", name="uq_versions_user"),
        Index("ix_versions_user", "tenant_id", "user_id", "created_at"),
    )

    row: int | None = Field(default=None, primary_key=True)
    id: str = Field(max_length=64, description="content digest: `v_` and 32 hex digits")
    tenant_id: str = Field(max_length=64)
    user_id: str = Field(max_length=128)
    job_id: str | None = Field(default=None, foreign_key="jobs.id", max_length=64, ondelete="SET NULL")
    path: str = Field(max_length=512, description="folder of the version, relative to the store's root")
    layers: str = Field(max_length=256)
    n: int
    r: int
    base_digest: str = Field(max_length=64)
    passed_gate: bool = False
    with_memory: bool = Field(default=False, sa_column=Column(Boolean, nullable=False, server_default=false()))
    """Whether it was trained with the memory prompt before each query, and has to be asked so."""
    deleted_samples: list[str] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    """Digests of samples that it has learned and that were deleted since; null: none."""
    metrics: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    created_at: datetime = Field(default_factory=now)


class Event(SQLModel, table=True):
    """What happened to a job, in order; the id is the cursor of the event stream (Last-Event-ID)."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_job", "job_id", "id"), NEVER_REUSE_IDS)

    id: int | None = Field(default=None, primary_key=True)
    tenant_id: str = Field(max_length=64)
    job_id: str = Field(foreign_key="jobs.id", max_length=64, ondelete="CASCADE")
    kind: str = Field(max_length=32, description="status, trial, progress, report or error")
    data: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    created_at: datetime = Field(default_factory=now)


class Tally(SQLModel, table=True):
    """How often something has happened, and how long it took: figures that outlive the rows they were taken from."""

    __tablename__ = "tallies"

    tenant_id: str = Field(primary_key=True, max_length=64)
    name: str = Field(primary_key=True, max_length=16, description="of what: see app.repositories.tallies")
    label: str = Field(primary_key=True, max_length=16, description="of which kind: a state, a decision, a phase")
    count: int = Field(sa_column=Column(BigInteger, nullable=False))
    seconds: float


class IdempotencyKey(SQLModel, table=True):
    """The answer once given to a request with an Idempotency-Key, kept for a repeat of that request."""

    __tablename__ = "idempotency_keys"

    tenant_id: str = Field(primary_key=True, max_length=64)
    key: str = Field(primary_key=True, max_length=255)
    fingerprint: str = Field(max_length=64, description="SHA-256 of method, path and body")
    status_code: int
    body: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    created_at: datetime = Field(default_factory=now)
