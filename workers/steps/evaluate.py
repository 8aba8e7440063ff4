"""The evaluate step: train a few trials side by side on the train part, and score them on validation.

The test part is not even read. Must not know why these trials were chosen.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sqlmodel import Session, col, select

from app.job_options import ResolvedOptions
from app.job_states import StepKind, TrialOrigin, TrialState
from app.repositories import events, steps, tallies
from app.repositories import trials as trial_rows
from app.repositories.tallies import Counted, Phase, Sum
from app.tables import Job, Step, Trial, now
from engine.evaluation import Evaluation
from engine.history import Sample
from engine.stack import parameter_count
from engine.training import Candidate, Course, TrainedCandidate, TrainingSettings, train_candidates
from workers.context import Context
from workers.search.early_stopping import StoppingRule
from workers.steps.ahead import look, plan_when_due
from workers.steps.history import JobHistory, load_history
from workers.steps.measure import Measure, prompt_of
from workers.steps.progress import Progress
from workers.steps.telemetry import Stopwatch, tell_of_trial
from workers.steps.trials import (
    complete_of,
    configuration_of,
    in_state,
    observation_of,
    seconds_left,
    show,
    trial_event,
)


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
    seconds: Mapping[Phase, float]

    def record(self, session: Session, job: Job) -> None:
        """Write the results, and make the next plan step due where enough is known."""
        by_number = {trial.number: trial for trial in trial_rows.trials_of(session, job.tenant_id, job.id)}
        for result in self.results:
            trial = by_number[result.number]
            for name, value in result.values.items():
                setattr(trial, name, value)
            if trial.state == TrialState.succeeded:
                show(trial)
            trial.finished_at, trial.seconds = now(), self.seconds_per_trial
            session.add(trial)
        everything = list(by_number.values())
        done = sum(trial.state != TrialState.planned for trial in everything)
        job.seconds_left = seconds_left(everything, job.trials_planned, self.at_once)
        session.add(job)
        for result in self.results:
            events.append(session, job, "trial", trial_event(by_number[result.number], job, done))
        plan_when_due(session, job, everything, self.round + 1)
        ended = Counter(by_number[result.number].state.value for result in self.results)
        tallies.add(session, job.tenant_id, Counted.trial, {state: Sum(count) for state, count in ended.items()})

    def discard(self, context: Context, job: Job) -> None:
        """A trial keeps nothing outside the database."""


def evaluate(context: Context, job: Job, step: Step, should_stop: Callable[[], bool]) -> Evaluated:
    """Train and score the step's trials. One that diverges or does not fit is a failed trial, not a failed step.

    Raises:
        TrainingStoppedError: `should_stop` said so.
        StepFailedError, BaseModelError: see workers.failures.
    """
    options = ResolvedOptions(**job.options)
    with context.database.read() as session:
        of_step = select(Trial).where(Trial.step_id == step.id, Trial.state == TrialState.planned)
        trials = session.exec(of_step.order_by(col(Trial.number))).all()
        everything = trial_rows.trials_of(session, job.tenant_id, job.id)
        before = [s for s in steps.of_kind(session, job, StepKind.evaluate) if s.round < step.round]
        history = load_history(session, job)
    rule = _stopping_rule(options, before, everything)
    measure = Measure(context, history, options, should_stop)
    began = time.perf_counter()
    trained = train_candidates(
        context.base,
        [Candidate(str(trial.number), configuration_of(trial), trial.seed) for trial in trials],
        _course(context, options, history, rule, measure),
        should_stop=should_stop,
        on_step=Progress(context.database, job, step, trials, everything, options.parallel_steps),
    )
    watch = Stopwatch()
    watch.add_training(trained, time.perf_counter() - began)
    results = []
    for trial, candidate in zip(trials, trained, strict=True):
        if trial.origin == TrialOrigin.base:
            asked, values = time.time(), _values(measure.stacks([None], history.split.validation)[0], [], 0)
            span = (asked, time.time())
            watch.add("generate", span[1] - span[0])
        else:
            values, span = _outcome(context, candidate, rule), (candidate.began, candidate.ended)
        tell_of_trial(job, trial, values["state"].value, *span, passes=len(candidate.curve))
        results.append(TrialResult(trial.number, values))
    seconds = (time.perf_counter() - began) / max(1, len(trials))
    return Evaluated(step.round, results, seconds, options.parallel_steps, watch.seconds)


def _stopping_rule(options: ResolvedOptions, before: Sequence[Step], everything: Sequence[Trial]) -> StoppingRule:
    """From the trials that the plan of this step knew, so that a replay stops the same ones.

    Args:
        before: the evaluate steps of earlier rounds. In the first there are none: its trials are all completed.
    """
    outlook = look(before, everything, options.parallel_steps)
    settled = outlook.settled or {step.id for step in before}
    known = [trial for trial in in_state(everything, TrialState.succeeded) if trial.step_id in settled]
    bases = [observation_of(trial) for trial in known if trial.origin == TrialOrigin.base]
    complete = [complete_of(trial) for trial in known if trial.origin != TrialOrigin.base]
    return StoppingRule(complete, bases[0] if bases else None)


def _course(
    context: Context,
    options: ResolvedOptions,
    history: JobHistory,
    rule: StoppingRule,
    measure: Measure,
) -> Course:
    projections = context.base.projections

    def go_on(candidate: Candidate, curve: Sequence[float]) -> bool:
        return rule.goes_on(curve, parameter_count(projections, candidate.configuration))

    course, validation = course_of(history, options, history.split.train), history.split.validation
    return replace(course, passes=options.trial_passes, validation=measure.examination(validation), go_on=go_on)


def course_of(history: JobHistory, options: ResolvedOptions, samples: Sequence[Sample]) -> Course:
    """How stacks of a job learn these samples."""
    return Course(
        samples,
        training_settings(options),
        # What the prompt says anyway is not learned as well.
        profile="" if options.with_memory else history.profile,
        order_seed=options.seed,
        prompt=prompt_of(history, options),
    )


def training_settings(options: ResolvedOptions) -> TrainingSettings:
    """How the trials of a job with these options are trained."""
    return TrainingSettings(**{f.name: getattr(options, f.name) for f in fields(TrainingSettings)})


def _outcome(context: Context, candidate: TrainedCandidate, rule: StoppingRule) -> dict[str, Any]:
    """The columns that say how a trained trial ended."""
    if not candidate.fits:
        return _failed("out_of_memory", f"{candidate.error}. A smaller batch_size or max_total_rank helps.")
    if candidate.stack is None:
        return _failed("training_diverged", f"{candidate.error}. A lower learning_rate helps.")
    if candidate.scores is None:
        return _stopped(context, candidate, rule)
    return _values(candidate.scores, candidate.curve, candidate.stack.parameters)


def _values(scores: Evaluation, curve: Sequence[float], parameters: int) -> dict[str, Any]:
    """The columns of a trial that was scored; `curve` has its losses after each pass."""
    if not all(map(math.isfinite, [*scores.loss, *curve])):
        return _failed(
            "evaluation_diverged", "The loss on the validation samples is not finite. A lower learning_rate helps."
        )
    told = {"loss": scores.loss, "rouge_l": scores.rouge_l, "curve": list(curve)}
    return {"state": TrialState.succeeded, "scores": told, "parameters": parameters}


def _stopped(context: Context, candidate: TrainedCandidate, rule: StoppingRule) -> dict[str, Any]:
    """The columns of a trial that could not win any more: what it would have scored is kept for the surrogate."""
    if candidate.stack is None:
        raise ValueError("a trial that diverged was not stopped")
    size = parameter_count(context.base.projections, candidate.stack.configuration)
    forecast = asdict(rule.forecast(candidate.curve, size))
    return {
        "state": TrialState.stopped,
        "scores": {"curve": list(candidate.curve), "forecast": forecast},
        "parameters": candidate.stack.parameters,
    }


def _failed(code: str, detail: str) -> dict[str, Any]:
    return {"state": TrialState.failed, "error": {"code": code, "detail": detail}}
