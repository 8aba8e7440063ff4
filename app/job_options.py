"""What a caller may choose for one job, and the complete options a job runs with.

`JobOptions` is what comes in; `resolve` fills it from the settings once, when the job is created, so that a job's
options never change under it and the same options and seed replay the same search. Loads nothing heavy.
"""

from __future__ import annotations

import secrets
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.settings import Settings

Preset = Literal["quick", "standard", "paper"]
Surrogate = Literal["map_saas", "ensemble_map_saas", "fully_bayesian_saas", "random"]
Dimension = Literal["layer", "num", "size"]
DIMENSIONS: tuple[Dimension, ...] = ("layer", "num", "size")
"""What a search chooses (MiLP, Table 5): which layers, how many LoRAs, of which rank."""


class JobOptions(BaseModel):
    """Options of one personalization job; whatever is left out comes from the service's settings."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    preset: Preset | None = Field(None, description="search budget: quick, standard, or paper (100 initial points)")
    trials: int | None = Field(
        None, ge=2, le=1000, description="most trials, the base's included; overrides the preset"
    )
    max_seconds: float | None = Field(
        None, gt=0, description="no new trials after so many seconds of the job, pauses left out"
    )
    seed: int | None = Field(None, ge=0, lt=2**31, description="replays a search exactly; random where left out")
    surrogate: Surrogate | None = Field(None, description="random: no surrogate, random points, to compare with")
    subspace: list[Dimension] | None = Field(
        None,
        min_length=1,
        description="what is searched, the rest as in the default LoRA (all layers, one LoRA, rank 16); default: all",
    )
    with_memory: bool = Field(
        False,
        description="train, score and answer with the memory prompt before each query, beside what is in the stack",
    )
    learning_rate: float | None = Field(None, gt=0, le=1)
    epochs: int | None = Field(None, ge=1, le=100)
    batch_size: int | None = Field(None, ge=1, le=256)
    activate: Literal["gate", "always", "never"] = Field(
        "gate", description="gate: activate the winner only if it beats base and memory prompt on held-out samples"
    )

    def resolve(self, settings: Settings) -> ResolvedOptions:
        """These options, completed from the settings."""
        return ResolvedOptions(
            preset=self.preset or settings.preset,
            trials=self.trials,
            max_seconds=self.max_seconds,
            seed=self.seed if self.seed is not None else secrets.randbelow(2**31),
            surrogate=self.surrogate or settings.surrogate,
            subspace=tuple(d for d in DIMENSIONS if self.subspace is None or d in self.subspace),
            with_memory=self.with_memory,
            learning_rate=self.learning_rate or settings.learning_rate,
            epochs=self.epochs or settings.epochs,
            trial_epochs=settings.trial_epochs,
            batch_size=self.batch_size or settings.batch_size,
            weight_decay=settings.weight_decay,
            warmup_fraction=settings.warmup_fraction,
            max_gradient_norm=settings.max_gradient_norm,
            max_sequence_tokens=settings.max_sequence_tokens,
            prompt_loss_weight=settings.prompt_loss_weight,
            label_smoothing=settings.label_smoothing,
            typical_share=settings.typical_share,
            averaged=settings.averaged,
            max_total_rank=settings.max_total_rank,
            max_new_tokens=settings.max_new_tokens,
            memory_pairs=settings.memory_pairs,
            trials_per_step=settings.trials_per_step,
            parallel_steps=settings.parallel_steps,
            gate_confidence=settings.gate_confidence,
            activate=self.activate,
        )


class ResolvedOptions(BaseModel):
    """Everything a job needs to know to be replayed; kept with the job as JSON."""

    model_config = ConfigDict(frozen=True)

    preset: Preset
    trials: int | None
    max_seconds: float | None
    seed: int
    surrogate: Surrogate
    subspace: tuple[Dimension, ...] = DIMENSIONS
    with_memory: bool = False
    learning_rate: float
    epochs: int
    batch_size: int
    weight_decay: float
    warmup_fraction: float
    max_gradient_norm: float
    max_sequence_tokens: int
    trial_epochs: int | None = None
    """None: jobs from before trials made fewer passes than what is published."""
    averaged: int = 1
    """Jobs from before winners were averaged publish a single training."""
    prompt_loss_weight: float = 0.0
    label_smoothing: float = 0.0
    """Jobs from before prompts were learned and labels smoothed learn responses alone, as they stand there."""
    typical_share: float = 1.0
    max_total_rank: int
    max_new_tokens: int
    memory_pairs: int
    trials_per_step: int
    parallel_steps: int = 1
    gate_confidence: float
    activate: Literal["gate", "always", "never"]

    @property
    def trial_passes(self) -> int:
        """Passes over the train part that each trial makes."""
        return min(self.trial_epochs or self.epochs, self.epochs)
