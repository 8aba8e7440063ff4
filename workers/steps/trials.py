"""Trial rows as the search sees them, what they tell of the time left, and how they are told to those who follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from app.job_states import TrialState
from app.tables import Job, Trial
from engine.configuration import Configuration
from workers.search.early_stopping import Complete, Forecast
from workers.search.observations import Observation


def configuration_of(trial: Trial) -> Configuration:
    return Configuration.from_bits(trial.layers, trial.n, trial.r)


def in_state(trials: Sequence[Trial], state: TrialState) -> list[Trial]:
    return [trial for trial in trials if trial.state == state]


def observation_of(trial: Trial) -> Observation:
    """The scores of a trial that succeeded. Raises: ValueError if it has none."""
    if trial.loss is None or trial.loss_se is None or trial.rouge_l is None or trial.rouge_l_se is None:
        raise ValueError(f"trial {trial.number} of job {trial.job_id} has no scores")
    return Observation(
        configuration_of(trial), trial.loss, trial.loss_se, trial.rouge_l, trial.rouge_l_se, trial.parameters or 0
    )


def complete_of(trial: Trial) -> Complete:
    """A trial that succeeded, with its losses after each pass."""
    return Complete(tuple((trial.scores or {})["curve"]), observation_of(trial))


def forecast_of(trial: Trial) -> Observation:
    """What a stopped trial would have scored, with the standard errors of the forecast."""
    forecast = Forecast(**(trial.scores or {})["forecast"])
    return Observation(configuration_of(trial), **asdict(forecast), parameters=trial.parameters or 0)


def seconds_left(trials: Sequence[Trial], planned: int, at_once: int) -> float | None:
    """Predicted seconds until the search ends, from the mean of the trials so far; None before the first.

    Args:
        planned: trials of the whole job.
        at_once: steps of the job that may run side by side.
    """
    # The base trains nothing: what it took says little about the others.
    took = [t.seconds for t in trials if t.seconds is not None and t.number > 0]
    done = sum(t.state != TrialState.planned for t in trials)
    if not took:
        return None
    return sum(took) / len(took) * max(0, planned - done) / at_once


def trial_event(trial: Trial, job: Job, done: int) -> dict[str, Any]:
    """What a client that follows the job is told of a finished trial."""
    return {
        "number": trial.number,
        "origin": trial.origin.value,
        "state": trial.state.value,
        "layers": trial.layers,
        "n": trial.n,
        "r": trial.r,
        "loss": trial.loss,
        "rouge_l": trial.rouge_l,
        "parameters": trial.parameters,
        "seconds": trial.seconds,
        "error": trial.error,
        "trials_done": done,
        "trials_planned": job.trials_planned,
        "seconds_left": job.seconds_left,
    }
