"""The plan step: what to try next, or that it is time to publish. The search itself is pure and lies in workers.search.

The first one fixes the split of the history and the budget; a later one only reads them, so samples that arrive while
the job runs do not disturb it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session

from app.job_options import ResolvedOptions
from app.job_states import StepKind, TrialOrigin, TrialState
from app.repositories import jobs, steps
from app.repositories import trials as trial_rows
from app.repositories.clock import database_now
from app.repositories.tallies import Phase
from app.tables import Job, Step, Trial
from engine.configuration import MAX_LORAS, RANKS, Configuration
from workers.context import Context
from workers.proposer import Question
from workers.search.loop import Batch, Origin
from workers.search.presets import budget
from workers.search.seeds import derive_seed
from workers.search.space import SearchSpace, default_max_total_rank
from workers.steps.ahead import look, plan_when_due
from workers.steps.history import split_history
from workers.steps.report import base_failed
from workers.steps.trials import configuration_of, forecast_of, in_state, observation_of


@dataclass(frozen=True)
class Plan:
    """What comes next, and on the first round what is fixed for all of them."""

    round: int
    split: dict[str, list[int]]
    batch: Batch
    first_number: int
    trials_planned: int
    options: ResolvedOptions
    seconds: Mapping[Phase, float]

    def record(self, session: Session, job: Job) -> None:
        """Write the next trials and the steps that evaluate them, or the step that publishes."""
        job.split = dict(self.split)
        job.trials_planned = self.trials_planned
        session.add(job)
        if self.batch.stop_reason:
            # Publishing has to say in its report why the search ended.
            job.split = {**self.split, "stop_reason": self.batch.stop_reason}
            jobs.add_step(session, job, StepKind.publish, self.round)
            return
        number = self.first_number
        for chunk in _chunks(self.batch.configurations, self.options.trials_per_step):
            step = jobs.add_step(session, job, StepKind.evaluate, self.round)
            for configuration, origin in chunk:
                session.add(self._trial(job, step, number, configuration, TrialOrigin(origin)))
                number += 1
        # Where nothing was to be proposed, what is in training has to end first; its steps ask again when they do.
        if self.batch.configurations or not steps.open_steps(session, job, StepKind.evaluate):
            plan_when_due(session, job, trial_rows.trials_of(session, job.tenant_id, job.id), self.round + 1)

    def discard(self, context: Context, job: Job) -> None:
        """A plan keeps nothing outside the database."""

    def _trial(self, job: Job, step: Step, number: int, configuration: Configuration, origin: TrialOrigin) -> Trial:
        if step.id is None:
            raise ValueError("a trial needs a step that was written")
        return Trial(
            tenant_id=job.tenant_id,
            job_id=job.id,
            step_id=step.id,
            number=number,
            round=self.round,
            origin=origin,
            layers=configuration.layer_bits,
            n=configuration.n,
            r=configuration.r,
            seed=derive_seed(self.options.seed, "trial", number),
        )


def plan(context: Context, job: Job, step: Step, should_stop: Callable[[], bool]) -> Plan:  # noqa: ARG001 - takes seconds
    """Ask the search for the next trials.

    Raises:
        HistoryTooShortError: the first round, and too few samples to split.
        StepFailedError: `base_failed`, the base's own loss was not finite.
    """
    began, options = time.perf_counter(), ResolvedOptions(**job.options)
    with context.database.read() as session:
        split = job.split or split_history(session, job, context.settings.min_history_samples)
        trials = trial_rows.trials_of(session, job.tenant_id, job.id)
        outlook = look(steps.of_kind(session, job, StepKind.evaluate), trials, options.parallel_steps)
        elapsed = jobs.seconds_at_work(job, database_now(session))
    if any(trial.origin == TrialOrigin.base for trial in in_state(trials, TrialState.failed)):
        # No trial of this job could ever win, so none more is trained.
        raise base_failed()
    everything = frozenset(trial.step_id for trial in trials)
    batch = _next(context, options, trials, outlook.settled or everything, elapsed)
    if not batch.configurations:
        if outlook.any_open:
            batch = Batch()
        elif outlook.settled:
            batch = _next(context, options, trials, everything, elapsed)
    planned = len(trials) if batch.stop_reason else budget(options.preset, options.trials).trials
    seconds: dict[Phase, float] = {"plan": time.perf_counter() - began}
    return Plan(step.round, split, batch, len(trials), planned, options, seconds)


def _next(
    context: Context,
    options: ResolvedOptions,
    trials: Sequence[Trial],
    settled: frozenset[int],
    elapsed: float,
) -> Batch:
    """What the search proposes from the trials of the settled steps. The others count as still in training."""
    known = [trial for trial in trials if trial.step_id in settled]
    others = [trial for trial in trials if trial.step_id not in settled]
    finished = in_state(known, TrialState.succeeded)
    question = Question(
        space=search_space(context, options),
        preset=budget(options.preset, options.trials),
        observations_in_order=[observation_of(trial) for trial in finished],
        failed=[configuration_of(trial) for trial in in_state(known, TrialState.failed)],
        pending=[configuration_of(trial) for trial in [*in_state(known, TrialState.planned), *others]],
        # Not the number of workers there are: the same options and seed have to propose the same points.
        q=options.trials_per_step * options.parallel_steps,
        seed=options.seed,
        surrogate=options.surrogate,
        elapsed=elapsed,
        max_seconds=options.max_seconds,
        stopped=[forecast_of(trial) for trial in in_state(known, TrialState.stopped)],
    )
    return context.propose(question)


def search_space(context: Context, options: ResolvedOptions) -> SearchSpace:
    """What may be tried on this base."""
    base, searched = context.base, options.subspace
    default = Configuration.default_lora(base.n_layers)
    return SearchSpace(
        base.n_layers,
        options.max_total_rank or default_max_total_rank(base.hidden_size),
        ranks=RANKS if "size" in searched else (default.r,),
        max_loras=MAX_LORAS if "num" in searched else default.n,
        search_layers="layer" in searched,
    )


def _chunks(configurations: list[tuple[Configuration, Origin]], size: int) -> list[list[tuple[Configuration, Origin]]]:
    """Trials for each evaluate step, in order. The base trains nothing, so it joins the first step for free."""
    bases = [c for c in configurations if c[0].is_base]
    trained = [c for c in configurations if not c[0].is_base]
    chunks = [trained[start : start + size] for start in range(0, len(trained), size)] or ([[]] if bases else [])
    return [bases + chunks[0], *chunks[1:]] if chunks else []
