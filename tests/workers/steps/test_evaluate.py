"""The evaluate step: it trains on the train part alone, scores on validation, and survives what diverges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from app.job_options import ResolvedOptions
from app.job_states import StepKind, TrialOrigin, TrialState
from app.repositories import history, users
from app.tables import Job, Step
from engine.configuration import Configuration
from engine.history import Sample
from engine.stack import parameter_count
from engine.training import Course, TrainedCandidate, train_candidates
from tests.workers.helpers import (
    TENANT,
    add_job,
    add_person,
    due,
    events_now,
    job_now,
    run_all,
    run_next,
    run_until,
    samples,
    steps_now,
    stored,
    trials_now,
    versions_now,
)
from workers.context import Context
from workers.runner import run_step
from workers.search.early_stopping import StoppingRule
from workers.steps import evaluate as evaluate_step
from workers.steps import progress
from workers.steps.history import load_history
from workers.steps.measure import prompt_of

MARKER = "xylophone-7731"
Weights = dict[str, torch.Tensor]


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

    def train_and_note(base: Any, candidates: Any, course: Course, **named: Any) -> Any:
        seen.extend(text for sample in course.train for text in (sample.query, sample.response))
        seen.append(course.profile)
        return train_candidates(base, candidates, course, **named)

    monkeypatch.setattr(evaluate_step, "train_candidates", train_and_note)
    add_person(context.database, marked(range(12, 20)))
    job = add_job(context.database, context.settings, trials=4)
    run_all(context)
    assert job_now(context.database, job).status == "succeeded"
    # Two evaluate steps: 12 pairs and the profile each.
    assert len(seen) == 2 * (12 * 2 + 1)
    assert not any(MARKER in text for text in seen)


def weights_after_first_evaluation(context: Context, user_id: str, pairs: list[Sample]) -> Weights:
    """What the trials of a new person's first evaluate step learn."""
    trained: list[TrainedCandidate] = []

    def train_and_keep(*positional: Any, **named: Any) -> list[TrainedCandidate]:
        trained.extend(train_candidates(*positional, **named))
        return trained

    add_person(context.database, pairs, user_id=user_id)
    job = add_job(context.database, context.settings, user_id=user_id)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate_step, "train_candidates", train_and_keep)
        after_first_evaluation(context, job)
    with context.database.write() as session:
        users.delete_user(session, TENANT, user_id)
    (stack,) = [one.stack for one in trained if one.stack is not None and one.stack.parameters]
    return {f"{name} {half}": t for half, tensors in (("A", stack.a), ("B", stack.b)) for name, t in tensors.items()}


def test_trained_weights_do_not_depend_on_validation_and_test_text(context: Context) -> None:
    plain = weights_after_first_evaluation(context, "plain", samples())
    other = weights_after_first_evaluation(context, "marked", marked(range(12, 20)))
    assert all(torch.equal(tensor, other[name]) for name, tensor in plain.items())


def test_trained_weights_depend_on_train_text(context: Context) -> None:
    plain = weights_after_first_evaluation(context, "plain", samples())
    other = weights_after_first_evaluation(context, "marked", marked([11]))
    assert not any(torch.equal(tensor, other[name]) for name, tensor in plain.items())


@pytest.mark.parametrize(("part", "same"), [(range(12, 16), False), (range(16, 20), True)])
def test_a_search_is_scored_on_validation_text_and_not_on_test_text(
    context: Context, part: Sequence[int], same: bool
) -> None:
    scores = []
    for user_id, pairs in (("plain", samples()), ("marked", marked(part))):
        add_person(context.database, pairs, user_id=user_id)
        job = add_job(context.database, context.settings, user_id=user_id)
        after_first_evaluation(context, job)
        scores.append([trial.scores for trial in trials_now(context.database, job)])
        with context.database.write() as session:
            users.delete_user(session, TENANT, user_id)
    assert (scores[0] == scores[1]) is same


def test_the_parts_of_a_job_are_disjoint_in_time_order_and_name_the_samples_to_learn(context: Context) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings)
    assert run_next(context)
    with context.database.read() as session:
        found = load_history(session, job_now(context.database, job))
    everything = [*found.split.train, *found.split.validation, *found.split.test]
    assert everything == samples()
    assert found.learned_digests == [history.sample_digest(s.query, s.response) for s in samples()[:16]]
    assert found.profile == "Keeps a garden."


def test_a_trial_is_kept_with_scores_and_errors_and_its_losses_after_each_pass_and_no_stack(
    context: Context,
) -> None:
    add_person(context.database)
    job = add_job(context.database, context.settings, trials=4, epochs=2)
    after_first_evaluation(context, job)
    base, default = trials_now(context.database, job)[:2]
    size = parameter_count(context.base.projections, Configuration.default_lora(context.base.n_layers))
    assert (base.parameters, default.parameters) == (0, size)
    for trial, passes in ((base, 0), (default, 2)):
        assert trial.scores is not None
        assert set(trial.scores) == {"loss", "rouge_l", "curve"}
        assert [len(trial.scores[name]) for name in ("loss", "rouge_l", "curve")] == [4, 4, passes]
        assert trial.loss == pytest.approx(sum(trial.scores["loss"]) / 4)
        assert trial.rouge_l == pytest.approx(sum(trial.scores["rouge_l"]) / 4)
        assert not passes or trial.scores["curve"][-1] == pytest.approx(trial.loss)
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
    assert stored(context.settings) == []


def test_a_trial_that_does_not_fit_into_memory_fails_with_a_reason_and_the_job_goes_on(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*positional: Any, **named: Any) -> list[TrainedCandidate]:
        trained = train_candidates(*positional, **named)
        return [replace(one, stack=None, fits=False, error="no room") if one.key == "2" else one for one in trained]

    monkeypatch.setattr(evaluate_step, "train_candidates", train)
    add_person(context.database)
    job = add_job(context.database, context.settings, trials=4)
    run_all(context)
    states = [trial.state for trial in trials_now(context.database, job)]
    assert states == [TrialState.succeeded, TrialState.succeeded, TrialState.failed, TrialState.succeeded]
    error = trials_now(context.database, job)[2].error
    assert error is not None
    assert error["code"] == "out_of_memory"
    assert "batch_size" in error["detail"]
    assert job_now(context.database, job).status == "succeeded"


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
    ended = job_now(context.database, job)
    assert ended.status == "succeeded"
    assert ended.report is not None
    assert ended.report["winner"]["trial"] == 0
    assert ended.report["gate"]["passed"] is False
    assert ended.report["activated"] is False
    assert ended.report["test"]["personalized"] == ended.report["test"]["base"]
    assert "default_lora" not in ended.report["test"]
    assert (ended.version_id, ended.passes, ended.report["passes"]) == (None, None, None)
    assert versions_now(context.database) == []
    assert stored(context.settings) == []


def test_a_trial_makes_as_many_passes_as_trials_do_and_not_those_of_what_is_published(context: Context) -> None:
    add_person(context.database)
    context.settings = context.settings.model_copy(update={"trial_epochs": 2})
    for epochs, passes in ((1, 1), (3, 2)):
        job = add_job(context.database, context.settings, epochs=epochs)
        run_until(context, StepKind.publish)
        assert [len((t.scores or {})["curve"]) for t in trials_now(context.database, job)] == [0, passes]
        run_all(context)


def test_progress_is_told_while_a_step_trains_and_dropped_when_it_ends(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    seen: list[dict[str, Any]] = []

    def train_and_look(*positional: Any, **named: Any) -> Any:
        trained = train_candidates(*positional, **named)
        seen.extend(events_now(context.database, job, "progress"))
        return trained

    monkeypatch.setattr(evaluate_step, "train_candidates", train_and_look)
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
    assert all(trial.loss is None for trial in stopped)
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
    options = ResolvedOptions(**job_now(context.database, remembering).options)
    shown = prompt_of(history_now, options)(history_now.split.train[0])
    assert len(shown) == 1 + 2 * 3 + 1
    # A sample is not shown its own pair: its query comes last, and once.
    asked = history_now.split.train[0].query
    assert [message.content for message in shown].index(asked) == len(shown) - 1
    versions_made = {v.job_id: v.with_memory for v in versions_now(context.database)}
    assert versions_made.get(remembering.id, True)
    assert not versions_made.get(plain.id, False)
