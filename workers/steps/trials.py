"""Trial rows as the search sees them, what they tell of the time left, and how they are told to those who follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from app.job_states import TrialOrigin, TrialState
from app.tables import Job, Trial
from engine.configuration import Configuration
from engine.metrics import mean_and_se
from workers.search.early_stopping import Complete, Forecast
from workers.search.observations import Observation
from workers.search.passes import best_passes


def configuration_of(trial: Trial) -> Configuration:
    return Configuration.from_bits(trial.layers, trial.n, trial.r)


def in_state(trials: Sequence[Trial], state: TrialState) -> list[Trial]:
    return [trial for trial in trials if trial.state == state]


def passes_of(trial: Trial) -> list[dict[str, list[float]]]:
    """Scores of a trial after each pass it made, `loss` and `rouge_l` of each validation sample. The base has one."""
    scores = trial.scores or {}
    # Trials of a job that began before scores were kept for every pass have those of the last one.
    return scores["passes"] if "passes" in scores else [{name: scores[name] for name in ("loss", "rouge_l")}]


def scores_after(trial: Trial, passes: int | None) -> dict[str, list[float]]:
    """Its scores after so many passes, or its last where it made no more; None: its last."""
    made = passes_of(trial)
    return made[min(passes or len(made), len(made)) - 1]


def observation_of(trial: Trial, passes: int | None) -> Observation:
    """The scores of a trial that succeeded after so many passes; None: its last."""
    after = scores_after(trial, passes)
    loss, rouge_l = mean_and_se(after["loss"]), mean_and_se(after["rouge_l"])
    return Observation(configuration_of(trial), *loss, *rouge_l, trial.parameters or 0)


def complete_of(trial: Trial, passes: int | None) -> Complete:
    """A trial that succeeded, with its losses after each of so many passes."""
    # Of a trial from before scores were kept for every pass, the mean losses were.
    losses = (trial.scores or {}).get("curve") or [fmean(after["loss"]) for after in passes_of(trial)[:passes]]
    return Complete(tuple(losses), observation_of(trial, passes))


def show_after(trial: Trial, passes: int | None) -> None:
    """Set the columns that clients see to a succeeded trial's scores after so many passes."""
    seen = observation_of(trial, passes)
    trial.loss, trial.loss_se, trial.rouge_l, trial.rouge_l_se = seen.loss, seen.loss_se, seen.rouge_l, seen.rouge_l_se


def passes_for(job: Job, finished: Sequence[Trial]) -> int | None:
    """How many passes this job's stacks are given: what its search chose, else what these trials say; None: unknown.

    Args:
        finished: trials that succeeded, those after the initial design too.
    """
    if job.passes is not None:
        return job.passes
    design = [trial for trial in finished if trial.round == 0 and trial.origin != TrialOrigin.base]
    if not design or not all("passes" in (trial.scores or {}) for trial in design):
        # A job that began before scores were kept for every pass makes all of them to its end.
        return None
    return best_passes([[fmean(after["rouge_l"]) for after in passes_of(trial)] for trial in design])


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
