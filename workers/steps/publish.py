"""The publish step: choose the winner, have the gate judge it, train it anew, measure it on the test part, keep it.

The only step that looks at the test part, and only to report on it: what it scores there decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from sqlmodel import Session

from adapters_store.record import Provenance
from app.errors import VersionNotFoundError
from app.job_options import ResolvedOptions
from app.job_states import JobStatus, TrialState
from app.repositories import events, jobs, tallies, users, versions
from app.repositories import trials as trial_rows
from app.repositories.tallies import Counted, Decision, Phase, Sum
from app.tables import Job, Step, Trial, Version
from engine.stack import Stack
from engine.training import Candidate, train_candidates
from workers.context import Context
from workers.failures import StepFailedError
from workers.leftovers import announce
from workers.steps.averaged import averaged, members_of
from workers.steps.evaluate import course_of
from workers.steps.history import JobHistory, load_history
from workers.steps.measure import Measure
from workers.steps.report import Finalists, base_failed, build_report, choose_finalists, with_intervals
from workers.steps.telemetry import Stopwatch
from workers.steps.trials import configuration_of, in_state, rouge_l_of
from workers.steps.verdict import Gate, Verdict


@dataclass(frozen=True)
class Publication:
    """How a job ends: its report and, unless the base itself won, the version that is in the store now."""

    report: dict[str, Any]
    version: Mapping[str, Any] | None
    decision: Decision
    seconds: Mapping[Phase, float]

    def record(self, session: Session, job: Job) -> None:
        """Write report and version, flip the pointer to it if it is to be active, end the job."""
        job.report = self.report
        job.passes = self.report["passes"]
        events.append(session, job, "report", self.report)
        jobs.set_status(session, job, JobStatus.succeeded)
        if self.version is not None:
            row = Version(tenant_id=job.tenant_id, user_id=job.user_id, job_id=job.id, **self.version)
            version = versions.add_version(session, row)
            job.version_id = version.id
            if self.report["activated"]:
                versions.activate(session, users.get_user(session, job.tenant_id, job.user_id), version.id)
        tallies.add(session, job.tenant_id, Counted.gate, {self.decision: Sum(1)})

    def discard(self, context: Context, job: Job) -> None:
        """Erase the version again, unless an earlier job of the user published the very same."""
        if self.version is None:
            return
        try:
            with context.database.read() as session:
                versions.get_version(session, job.tenant_id, job.user_id, self.version["id"])
        except VersionNotFoundError:
            context.store.erase_version(self.version["path"])


def publish(context: Context, job: Job, step: Step, should_stop: Callable[[], bool]) -> Publication:
    """The job's report, and the winner in the store.

    Raises:
        TrainingStoppedError: `should_stop` said so.
        LeaseLostError: the step was taken before anything was written.
        StepFailedError, StoreError, StackMismatchError: see workers.failures.
    """
    options = ResolvedOptions(**job.options)
    with context.database.read() as session:
        finished = in_state(trial_rows.trials_of(session, job.tenant_id, job.id), TrialState.succeeded)
        history = load_history(session, job)
    finalists = choose_finalists(finished)
    measure, watch = Measure(context, history, options, should_stop), Stopwatch()
    verdict = None
    if not finalists.base_won:
        gate = Gate(context, options, watch, should_stop)
        verdict = gate.judge(history, _candidate(finalists.winner), rouge_l_of(finalists.base))
    decision = verdict.decision if verdict is not None else None
    activated = decision is not None and (
        options.activate == "always" or (options.activate == "gate" and decision.passed)
    )
    with watch.during("train"):
        stacks = _train_anew(context, history, options, finalists, should_stop)
    with watch.during("generate"):
        test = _test_scores(measure, stacks, history)
    split = history.split
    samples = {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)}
    stop_reason = str((job.split or {}).get("stop_reason", ""))
    passes = None if finalists.base_won else options.epochs
    report = build_report(finalists, passes, decision, options.gate_confidence, activated, stop_reason, test, samples)
    if verdict is None or stacks.winner is None:
        return Publication(report, None, "base_won", watch.seconds)
    with watch.during("publish"):
        version = _keep(context, job, step, history, options, finalists.winner, stacks.winner, verdict, report)
    return Publication(report, version, "passed" if verdict.decision.passed else "refused", watch.seconds)


@dataclass(frozen=True)
class _Anew:
    """What was trained anew, each None where there is none of it."""

    winner: Stack | None
    default: Stack | None


def _train_anew(
    context: Context,
    history: JobHistory,
    options: ResolvedOptions,
    finalists: Finalists,
    should_stop: Callable[[], bool],
) -> _Anew:
    """The winner's and the default LoRA's stacks, trained on train and validation part.

    The validation part was needed to choose; what was chosen is then taught the latest samples too, as it was
    rehearsed: from several seeds, whose average is published. The default LoRA, which the report compares with, is the
    ordinary one: a single training.

    Raises:
        StepFailedError: `training_diverged`, the winner did this time, from every seed.
        DoesNotFitError: memory did not suffice for the winner this time.
        TrainingStoppedError: `should_stop` said so.
    """
    default = [_candidate(finalists.default)] if finalists.default is not None else []
    members = [] if finalists.base_won else members_of(_candidate(finalists.winner), options.averaged)
    trained = train_candidates(
        context.base,
        list(dict.fromkeys([*members, *default])),
        course_of(history, options, history.learned),
        should_stop=should_stop,
    )
    by_key = {one.key: one for one in trained}
    of_winner = [by_key[member.key] for member in members]
    winner = averaged(of_winner) if of_winner else None
    return _Anew(winner, next((by_key[candidate.key].stack for candidate in default), None))


def _candidate(trial: Trial) -> Candidate:
    return Candidate(str(trial.number), configuration_of(trial), trial.seed)


def _test_scores(measure: Measure, stacks: _Anew, history: JobHistory) -> dict[str, dict[str, Any]]:
    """Scores of every method on the test part, each knowing all that happened before it.

    The base answers as "personalized" where it won. The memory prompt and the default LoRA are left out where their
    loss is not finite.

    Raises:
        StepFailedError: that of the base or of the winner is not finite.
    """
    test = history.split.test
    trained = {"default_lora": stacks.default, "personalized": stacks.winner}
    asked = {"base": None, **{name: stack for name, stack in trained.items() if stack is not None}}
    scores = dict(zip(asked, measure.stacks(list(asked.values()), test), strict=True))
    methods = {"base": scores["base"], "memory": measure.memory(test, history.learned)}
    if "default_lora" in scores:
        methods["default_lora"] = scores["default_lora"]
    methods["personalized"] = scores.get("personalized", scores["base"])
    finite = {name: scores for name, scores in methods.items() if all(map(math.isfinite, scores.loss))}
    if "base" not in finite:
        raise base_failed("test")
    if "personalized" not in finite:
        raise StepFailedError(
            "evaluation_diverged",
            "The winner has no finite loss on the test samples, so it is not published. A lower learning_rate helps.",
        )
    return {name: with_intervals(scores) for name, scores in finite.items()}


def _keep(
    context: Context,
    job: Job,
    step: Step,
    history: JobHistory,
    options: ResolvedOptions,
    winner: Trial,
    stack: Stack,
    verdict: Verdict,
    report: Mapping[str, Any],
) -> dict[str, Any]:
    """Put the winner into the store; the columns of its row."""
    base, rehearsal = context.base, verdict.rehearsal
    metrics = {
        "validation": {"loss": fmean(rehearsal.loss), "rouge_l": fmean(rehearsal.rouge_l)},
        "test": report["test"]["personalized"],
        "gate": report["gate"],
    }
    provenance = Provenance(
        base_name=base.name,
        base_digest=base.digest,
        model_type=base.model_type,
        fan_in_fan_out=any(projection.transposed for projection in base.projections),
        metrics=metrics,
        sample_digests=history.learned_digests,
        seed=options.seed,
        options=options.model_dump(mode="json"),
    )
    published = context.store.publish(
        job.tenant_id, job.user_id, stack, provenance, announce=lambda path: announce(context, step, path)
    )
    return {
        "id": published.id,
        "path": published.path,
        "layers": winner.layers,
        "n": winner.n,
        "r": winner.r,
        "base_digest": base.digest,
        "passed_gate": report["gate"]["passed"],
        "with_memory": options.with_memory,
        "metrics": metrics,
    }
