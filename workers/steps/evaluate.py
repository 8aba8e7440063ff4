"""The evaluate step: train a few trials side by side on the train part and score them on the validation part.

The test part is not even read. Must not know why these trials were chosen.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlmodel import Session, col, select

from app.job_options import ResolvedOptions
from app.job_states import TrialState
from app.repositories import events
from app.repositories import trials as trial_rows
from app.tables import Job, Step, Trial, now
from engine.evaluation import Evaluation, evaluate_stacks
from engine.metrics import mean_and_se
from engine.training import Candidate, Course, TrainedCandidate, TrainingSettings, train_candidates
from workers.context import Context
from workers.steps.ahead import plan_when_due
from workers.steps.history import load_history
from workers.steps.progress import Progress
from workers.steps.trials import configuration_of, seconds_left, trial_event


@dataclass(frozen=True)
class TrialResult:
    """What became of one trial: the columns to set."""

    number: int
    values: dict[str, Any]


@dataclass(frozen=True)
class Evaluated:
    """The results of one step's trials."""

    round: int
    results: Sequence[TrialResult]
    seconds_per_trial: float
    at_once: int

    def record(self, session: Session, job: Job) -> None:
        """Write the results, and make the next plan step due where enough is known."""
        by_number = {trial.number: trial for trial in trial_rows.trials_of(session, job.tenant_id, job.id)}
        for result in self.results:
            trial = by_number[result.number]
            for name, value in result.values.items():
                setattr(trial, name, value)
            trial.finished_at, trial.seconds = now(), self.seconds_per_trial
            session.add(trial)
        everything = list(by_number.values())
        done = sum(trial.state != TrialState.planned for trial in everything)
        job.seconds_left = seconds_left(everything, job.trials_planned, self.at_once)
        session.add(job)
        for result in self.results:
            events.append(session, job, "trial", trial_event(by_number[result.number], job, done))
        plan_when_due(session, job, everything, self.round + 1)

    def discard(self, context: Context, job: Job) -> None:
        """Nothing of its own to remove: all trials of a job that is over are dropped together, by workers.leftovers."""


def evaluate(context: Context, job: Job, step: Step, should_stop: Callable[[], bool]) -> Evaluated:
    """Train and score the step's trials. One that diverges is a failed trial, not a failed step.

    Raises:
        TrainingStoppedError: `should_stop` said so.
        StepFailedError, BaseModelError, StoreError: see workers.failures.
    """
    options = ResolvedOptions(**job.options)
    with context.database.read() as session:
        of_step = select(Trial).where(Trial.step_id == step.id, Trial.state == TrialState.planned)
        trials = session.exec(of_step.order_by(col(Trial.number))).all()
        everything = trial_rows.trials_of(session, job.tenant_id, job.id)
        history = load_history(session, job)
    began = time.perf_counter()
    trained = train_candidates(
        context.base,
        [Candidate(str(trial.number), configuration_of(trial), trial.seed) for trial in trials],
        Course(history.split.train, training_settings(options), history.profile, options.seed),
        should_stop=should_stop,
        on_step=Progress(context.database, job, step, trials, everything, options.parallel_steps),
    )
    whole = [candidate for candidate in trained if candidate.error is None]
    scores = evaluate_stacks(
        context.base,
        [candidate.stack for candidate in whole],
        history.split.validation,
        train=history.split.train,
        profile=history.profile,
        max_new_tokens=options.max_new_tokens,
        max_sequence_tokens=options.max_sequence_tokens,
        should_stop=should_stop,
    )
    evaluation_of = {candidate.key: evaluation for candidate, evaluation in zip(whole, scores, strict=True)}
    results = [
        TrialResult(trial.number, _values(context, job, trial, candidate, evaluation_of.get(candidate.key)))
        for trial, candidate in zip(trials, trained, strict=True)
    ]
    seconds = (time.perf_counter() - began) / max(1, len(trials))
    return Evaluated(step.round, results, seconds, options.parallel_steps)


def training_settings(options: ResolvedOptions) -> TrainingSettings:
    """How the trials of a job with these options are trained."""
    return TrainingSettings(**{f.name: getattr(options, f.name) for f in fields(TrainingSettings)})


def _values(
    context: Context, job: Job, trial: Trial, candidate: TrainedCandidate, evaluation: Evaluation | None
) -> dict[str, Any]:
    """The columns that say how a trial ended. A stack worth keeping goes to the store first."""
    if evaluation is None or candidate.stack is None:
        return _failed("training_diverged", f"{candidate.error}. A lower learning_rate helps.")
    if not all(map(math.isfinite, evaluation.loss)):
        return _failed(
            "evaluation_diverged", "The loss on the validation samples is not finite. A lower learning_rate helps."
        )
    (loss, loss_se), (rouge_l, rouge_l_se) = mean_and_se(evaluation.loss), mean_and_se(evaluation.rouge_l)
    artifact = None
    if not candidate.stack.configuration.is_base:
        artifact = context.store.save_trial(job.tenant_id, job.user_id, job.id, trial.number, candidate.stack)
    return {
        "state": TrialState.succeeded,
        "loss": loss,
        "loss_se": loss_se,
        "rouge_l": rouge_l,
        "rouge_l_se": rouge_l_se,
        "scores": {"loss": evaluation.loss, "rouge_l": evaluation.rouge_l},
        "parameters": candidate.stack.parameters,
        "artifact": artifact,
    }


def _failed(code: str, detail: str) -> dict[str, Any]:
    return {"state": TrialState.failed, "error": {"code": code, "detail": detail}}
