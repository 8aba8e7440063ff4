"""The evaluate step: it trains on the train part alone, scores on validation, and survives what diverges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from app.job_states import StepKind, TrialOrigin, TrialState
from app.repositories import history, users
from app.tables import Job, Step
from engine.history import Sample
from engine.training import Course
from tests.workers.helpers import (
    TENANT,
    add_job,
    add_person,
    due,
    events_now,
    job_now,
    run_all,
    run_next,
    samples,
    steps_now,
    trials_now,
    versions_now,
)
from workers.context import Context
from workers.runner import run_step
from workers.search.early_stopping import StoppingRule
from workers.steps import evaluate as evaluate_step
from workers.steps import progress
from workers.steps.history import load_history

MARKER = "xylophone-7731"


def marked(parts: Sequence[int]) -> list[Sample]:
    """The usual samples, with the marker in query and response of those at these places."""
    return [
        Sample(f"{MARKER} {s.query}", f"{MARKER} {s.response}", s.time) if i in parts else s
        for i, s in enumerate(samples())
    ]


def after_first_evaluation(context: Context, job: Job) -> None:
    assert run_next(context)
    assert run_next(context)
    assert any(t.state == TrialState.succeeded for t in trials_now(context.database, job))


def test_no_validation_or_test_text_reaches_training(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    train_candidates = evaluate_step.train_candidates

    def train_and_note(base: Any, candidates: Any, course: Course, **named: Any) -> Any:
        seen.extend(text for sample in course.train for text in (sample.query, sample.response))
        seen.append(course.profile)
        return train_candidates(base, candidates, course, **named)

    monkeypatch.setattr(evaluate_step, "train_candidates", train_and_note)
    add_person(context.database, marked(range(14, 20)))
    job = add_job(context.database, context.settings, trials=4)
    run_all(context)
    assert job_now(context.database, job).status == "succeeded"
    # Two evaluate steps: 14 pairs and the profile each.
    assert len(seen) == 2 * (14 * 2 + 1)
    assert not any(MARKER in text for text in seen)


def test_trained_weights_do_not_depend_on_validation_and_test_text(context: Context) -> None:
    weights = []
    for user_id, pairs in (("plain", samples()), ("marked", marked(range(14, 20)))):
        add_person(context.database, pairs, user_id=user_id)
        job = add_job(context.database, context.settings, user_id=user_id)
        after_first_evaluation(context, job)
        # A trial's folder is named by its number and the digest of its weights.
        weights.append([(t.artifact or "").rpartition("/")[2] for t in trials_now(context.database, job)[1:]])
        with context.database.write() as session:
            users.delete_user(session, TENANT, user_id)
    assert weights[0] == weights[1]
    assert all(weights[0])


def test_trained_weights_depend_on_train_text(context: Context) -> None:
    weights = []
    for user_id, pairs in (("plain", samples()), ("marked", marked([13]))):
        add_person(context.database, pairs, user_id=user_id)
        job = add_job(context.database, context.settings, user_id=user_id)
        after_first_evaluation(context, job)
        weights.append([(t.artifact or "").rpartition("/")[2] for t in trials_now(context.database, job)[1:]])
        with context.database.write() as session:
            users.delete_user(session, TENANT, user_id)
    assert weights[0] != weights[1]


def test_the_parts_of_a_job_are_disjoint_in_time_order_and_name_the_train_samples(context: Context) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings)
    assert run_next(context)
    with context.database.read() as session:
        found = load_history(session, job_now(context.database, job))
    everything = [*found.split.train, *found.split.validation, *found.split.test]
    assert everything == samples()
    assert found.train_digests == [history.sample_digest(s.query, s.response) for s in samples()[:14]]
    assert found.profile == "Keeps a garden."


def test_a_trial_is_kept_with_its_scores_their_errors_and_its_stack(context: Context) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings, trials=4)
    after_first_evaluation(context, job)
    base, default = trials_now(context.database, job)[:2]
    assert (base.parameters, base.artifact) == (0, None)
    assert default.artifact is not None
    assert context.store.load_trial(default.artifact, context.base).parameters == default.parameters
    for trial in (base, default):
        assert trial.scores is not None
        assert [len(trial.scores[name]) for name in ("loss", "rouge_l")] == [2, 2]
        assert trial.loss == pytest.approx(sum(trial.scores["loss"]) / 2)
        assert trial.rouge_l == pytest.approx(sum(trial.scores["rouge_l"]) / 2)
        assert trial.loss_se is not None
        assert trial.loss_se > 0
        assert trial.finished_at is not None
    told = events_now(context.database, job, "trial")
    assert [(event["number"], event["loss"]) for event in told[:2]] == [(0, base.loss), (1, default.loss)]
    assert told[-1]["trials_done"] == 3
    assert told[-1]["trials_planned"] == 4
    left = job_now(context.database, job).seconds_left
    assert left is not None
    assert left > 0


def test_diverging_trials_fail_with_a_reason_and_the_job_goes_on(context: Context) -> None:
    context.settings = context.settings.model_copy(update={"learning_rate": 1e30})
    add_person(context.database)
    job = add_job(context.database, context.settings, trials=4)
    run_all(context)
    base, *others = trials_now(context.database, job)
    assert base.state == TrialState.succeeded
    assert {trial.state for trial in others} == {TrialState.failed}
    for trial in others:
        assert trial.error is not None
        assert trial.error["code"] == "training_diverged"
        assert "learning_rate" in trial.error["detail"]
        assert trial.artifact is None
    ended = job_now(context.database, job)
    assert ended.status == "succeeded"
    assert ended.report is not None
    assert ended.report["winner"]["trial"] == 0
    assert ended.report["gate"]["passed"] is False
    assert ended.report["activated"] is False
    assert ended.report["test"]["personalized"] == ended.report["test"]["base"]
    assert "default_lora" not in ended.report["test"]
    assert (ended.version_id, versions_now(context.database)) == (None, [])


def test_progress_is_told_while_a_step_trains_and_dropped_when_it_ends(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    seen: list[dict[str, Any]] = []
    finish = evaluate_step.evaluate_stacks

    def look(*positional: Any, **named: Any) -> Any:
        seen.extend(events_now(context.database, job, "progress"))
        return finish(*positional, **named)

    monkeypatch.setattr(evaluate_step, "evaluate_stacks", look)
    add_person(context.database)
    job = add_job(context.database, context.settings)
    assert run_next(context)
    assert run_next(context)
    assert seen[0]["trials"] == [0, 1]
    assert seen[0]["trials_planned"] == 2
    assert [event["steps_done"] for event in seen] == list(range(1, seen[0]["steps_total"] + 1))
    assert all(event["seconds_left"] >= 0 for event in seen)
    assert events_now(context.database, job, "progress") == []


def test_a_round_is_planned_on_only_when_its_last_step_has_ended(context: Context) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings, trials=7)
    assert run_next(context)
    first, second = due(context.database)
    assert run_step(context, second)
    assert kinds(context, job) == ["plan", "evaluate", "evaluate"]
    assert run_step(context, first)
    assert kinds(context, job) == ["plan", "evaluate", "evaluate", "plan"]
    with context.database.read() as session:
        assert session.get_one(Step, due(context.database)[0]).round == 1


def kinds(context: Context, job: Job) -> list[StepKind]:
    return [step.kind for step in steps_now(context.database, job)]


def test_a_trial_that_cannot_win_is_stopped_early_counts_as_done_and_never_wins(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    class Strict(StoppingRule):
        """Stops every second trial that is asked about once it may stop any."""

        def goes_on(self, losses: Sequence[float], parameters: int) -> bool:
            assert super().goes_on(losses, parameters) in (True, False)
            if self.is_ready:
                asked.append(len(losses))
            return not self.is_ready or len(asked) % 2 == 0

    monkeypatch.setattr(evaluate_step, "StoppingRule", Strict)
    add_person(context.database)
    job = add_job(context.database, context.settings, trials=14, epochs=2)
    run_all(context)

    ended, trials = job_now(context.database, job), trials_now(context.database, job)
    stopped = [trial for trial in trials if trial.state == TrialState.stopped]
    assert ended.status == "succeeded", ended.error
    assert asked
    assert set(asked) == {1}
    assert stopped
    # The initial design is completed: it is what forecasts are made from.
    assert all(trial.origin == TrialOrigin.proposed for trial in stopped)
    assert all(trial.loss is None and trial.artifact is None for trial in stopped)
    assert all(len(trial.scores["curve"]) == 1 and trial.scores["forecast"]["loss_se"] > 0 for trial in stopped)  # type: ignore[index]
    assert len(trials) == 14
    assert ended.report is not None
    assert ended.report["winner"]["trial"] not in [trial.number for trial in stopped]
    assert not {trial.number for trial in stopped} & set(ended.report["pareto"])
    told = [event for event in events_now(context.database, job, "trial") if event["state"] == "stopped"]
    assert [event["number"] for event in told] == [trial.number for trial in stopped]


def test_a_job_with_memory_trains_and_scores_its_stacks_with_the_memory_prompt_and_the_base_without(
    context: Context,
) -> None:
    add_person(context.database)
    plain, remembering = (add_job(context.database, context.settings, with_memory=w) for w in (False, True))
    run_all(context)
    (base, default), (same_base, other) = (trials_now(context.database, job) for job in (plain, remembering))
    assert (same_base.loss, same_base.rouge_l) == (base.loss, base.rouge_l)
    assert other.loss != default.loss
    with context.database.read() as session:
        history_now = load_history(session, job_now(context.database, remembering))
    shown = history_now.memory_prompt(3)(history_now.split.train[0])
    assert len(shown) == 1 + 2 * 3 + 1
    assert history_now.split.train[0].response not in [message.content for message in shown]
    versions_made = {v.job_id: v.with_memory for v in versions_now(context.database)}
    assert versions_made.get(remembering.id, True)
    assert not versions_made.get(plain.id, False)
