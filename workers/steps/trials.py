"""Trial rows as the search sees them, what they tell of the time left, and how they are told to those who follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from app.job_states import TrialState
from app.tables import Job, Trial
from engine.configuration import Configuration
from engine.metrics import mean_and_se
from workers.search.early_stopping import Complete, Forecast
from workers.search.observations import Observation


def configuration_of(trial: Trial) -> Configuration:
    return Configuration.from_bits(trial.layers, trial.n, trial.r)


def in_state(trials: Sequence[Trial], state: TrialState) -> list[Trial]:
    return [trial for trial in trials if trial.state == state]


def observation_of(trial: Trial) -> Observation:
    """The scores of a trial that succeeded."""
    scores = _scores(trial)
    loss, rouge_l = mean_and_se(scores["loss"]), mean_and_se(scores["rouge_l"])
    return Observation(configuration_of(trial), *loss, *rouge_l, trial.parameters or 0)


def rouge_l_of(trial: Trial) -> list[float]:
    """ROUGE-L of each validation sample, of a trial that succeeded."""
    found: list[float] = _scores(trial)["rouge_l"]
    return found


def complete_of(trial: Trial) -> Complete:
    """A trial that succeeded, with its losses after each of its passes."""
    return Complete(tuple(_scores(trial)["curve"]), observation_of(trial))


def show(trial: Trial) -> None:
    """Set the columns that clients see to a succeeded trial's scores."""
    seen = observation_of(trial)
    trial.loss, trial.loss_se, trial.rouge_l, trial.rouge_l_se = seen.loss, seen.loss_se, seen.rouge_l, seen.rouge_l_se


def _scores(trial: Trial) -> dict[str, Any]:
    scores = trial.scores or {}
    if "passes" not in scores:
        return scores
    # A trial of a job that began when all scores were kept for every pass.
    passes = scores["passes"]
    return {**passes[-1], "curve": [fmean(after["loss"]) for after in passes]}


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
