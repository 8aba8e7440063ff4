"""Every setting of the service, once: its name, type, unit and reason.

Read from `MILP_...` environment variables and `.env`. A test checks that the README explains each. Loads nothing heavy.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from engine.history import MIN_SAMPLES

_BUNDLED_BASE = Path(__file__).resolve().parents[1] / "base_model"


class Settings(BaseSettings):
    """Settings of API, workers and CLI. Empty URLs mean the embedded part (SQLite, private Redis, local folder)."""

    model_config = SettingsConfigDict(env_prefix="MILP_", env_file=".env", extra="ignore", frozen=True)

    # Where things are
    data_dir: Path = Field(Path(".milp"), description="folder of everything embedded: database, store, Redis, logs")
    database_url: str = Field("", description="SQLAlchemy URL; empty: SQLite in data_dir")
    broker_url: str = Field("", description="Redis URL of the Celery broker; empty: the private Redis `milp up` starts")
    store_url: str = Field("", description="fsspec URL of the adapter store; empty: a folder in data_dir")
    host: str = Field("127.0.0.1", description="address the API binds; loopback unless told otherwise")
    port: int = Field(8321, ge=0, le=65535, description="port the API binds")
    api_keys: dict[str, str] = Field(
        default_factory=dict,
        description="JSON object API key -> tenant: keys with every scope, besides those of `milp keys`",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe level logged")

    # Limits of an API key; each key may have its own
    requests_per_minute: int = Field(0, ge=0, description="requests of one API key in a minute; 0: no limit")
    tokens_per_day: int = Field(0, ge=0, description="tokens generated for one API key in a day; 0: no limit")
    concurrent_jobs: int = Field(0, ge=0, description="unfinished jobs of one API key; 0: no limit")
    audit_days: int = Field(365, ge=0, description="days an entry of the audit log is kept; 0: for ever")

    # Webhooks
    webhooks_private: bool = Field(
        False,
        description="webhooks may go to private addresses too, and by plain http: every admin can then reach them",
    )

    # Base model
    base_model: str = Field(str(_BUNDLED_BASE), description="local folder or Hugging Face name of a causal LM")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto: CUDA, else MPS, else CPU")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: bfloat16 where the hardware computes it fast, else float32"
    )
    torch_threads: int = Field(0, ge=0, description="CPU threads per process; 0: all cores for one process")

    # History
    min_history_samples: int = Field(MIN_SAMPLES, ge=MIN_SAMPLES, description="fewest samples a job is started for")
    max_history_samples: int = Field(20_000, ge=1, description="most samples kept per user")
    max_sample_chars: int = Field(8_000, ge=1, description="longest query or response, characters")
    max_profile_chars: int = Field(4_000, ge=0, description="longest profile, characters")
    max_body_bytes: int = Field(32 * 2**20, ge=1024, description="largest request body, bytes")

    # Training of a trial (MiLP, section 3.4); a job's options can override
    learning_rate: float = Field(
        4e-3, gt=0, description="AdamW step size; the paper's is 5e-4, see evaluation/README.md"
    )
    weight_decay: float = Field(1e-4, ge=0, description="AdamW decoupled weight decay")
    warmup_fraction: float = Field(0.1, ge=0, le=1, description="share of the steps with rising learning rate")
    batch_size: int = Field(4, ge=1, description="samples per optimiser step")
    epochs: int = Field(
        4, ge=1, description="passes over the history that what is published, and the default LoRA beside it, makes"
    )
    trial_epochs: int = Field(2, ge=1, description="passes over the train part that a trial makes, `epochs` at most")
    max_gradient_norm: float = Field(1.0, gt=0, description="gradient clipping, per candidate")
    max_sequence_tokens: int = Field(512, ge=32, description="prompt and response together, tokens; longer is cut")
    prompt_loss_weight: float = Field(
        0.3,
        ge=0,
        description="what the mean loss of a prompt's tokens counts for beside that of the response's; 0: nothing",
    )
    label_smoothing: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="share of what is learned of each token that is spread over the whole vocabulary; scores are not",
    )
    typical_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="share of the samples that is learned: those with responses most like the person's others",
    )
    averaged: int = Field(
        4,
        ge=1,
        le=64,
        description="seeds, each with its order of samples, a winner is trained from; their average is published",
    )
    max_total_rank: int = Field(0, ge=0, description="largest n*r searched; 0: min(512, hidden size / 2)")

    # Search
    preset: Literal["quick", "standard", "paper"] = Field("quick", description="search budget where a job names none")
    surrogate: Literal["map_saas", "ensemble_map_saas", "fully_bayesian_saas"] = Field(
        "map_saas",
        description="Gaussian process with the SAAS prior; see benchmarks/README.md for the choice",
    )
    trials_per_step: int = Field(4, ge=1, description="trials a worker trains side by side in one evaluate step")
    parallel_steps: int = Field(
        1, ge=1, description="evaluate steps of one job that may run at once: as many as there are workers"
    )
    gate_confidence: float = Field(
        0.9, gt=0.5, lt=1, description="one-sided confidence of the paired bootstrap that activates a version"
    )

    # Answers
    max_new_tokens: int = Field(64, ge=1, description="longest generated answer, tokens, where a request names none")
    memory_pairs: int = Field(3, ge=0, description="past pairs in a memory prompt")
    bank_stacks: int = Field(32, ge=1, description="stacks kept loaded per API process; least recently used goes first")
    max_batch_rows: int = Field(16, ge=1, description="answers decoded side by side per API process")
    max_queue: int = Field(64, ge=1, description="answers waiting per API process; more get 503 with Retry-After")

    # Jobs
    lease_seconds: float = Field(30.0, gt=0, description="a worker silent for so long loses its step")
    stuck_seconds: float = Field(
        1800.0, gt=0, description="a step without progress for so long is taken from its worker, whose process is ended"
    )
    heartbeat_seconds: float = Field(5.0, gt=0, description="pause between two renewals of a lease")
    max_attempts: int = Field(5, ge=1, description="claims of one step before its job fails")
    dispatch_seconds: float = Field(0.25, gt=0, description="pause between two looks for due steps")

    @property
    def resolved_database_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'milp.sqlite3'}"

    @property
    def resolved_store_url(self) -> str:
        return self.store_url or (self.data_dir.resolve() / "store").as_uri()


@lru_cache
def get_settings() -> Settings:
    """The process's settings, read once."""
    return Settings()
