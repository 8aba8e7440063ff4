"""The benchmark of searching: PEFT's side learns what the engine learns, and the driver runs both sides alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from app.job_states import TrialOrigin
from app.tables import Trial
from benchmarks.material import EXAMPLE, history, of_length
from benchmarks.peers import fresh_model
from benchmarks.results_file import LIMIT
from benchmarks.search import shapes, steps
from benchmarks.search.__main__ import _optimiser_steps, agreement
from benchmarks.search.job import JobRun, run_job
from benchmarks.search.ours import our_batch
from benchmarks.search.service_job import ServiceJob, passes_made, service_job
from benchmarks.search.task import SEED, Scored, Task
from benchmarks.search.theirs import autopeft_batch, peft_batch
from benchmarks.shapes import Shape
from engine.base import Base
from engine.configuration import Configuration
from engine.learner import Candidate
from workers.proposer import Proposer
from workers.search.presets import Preset
from workers.search.stopping import stop_reason


@pytest.fixture
def task(base: Base) -> Task:
    whole = Task.of(base, history()).shorter(20)
    split = replace(whole.history.split, validation=whole.history.split.validation[:3])
    settings = replace(whole.settings, batch_size=8)
    return replace(whole, history=replace(whole.history, split=split), settings=settings, max_new_tokens=5)


@pytest.fixture
def candidates(base: Base) -> list[Candidate]:
    bits = Candidate("bits", Configuration((False, True, False), 2, 8), seed=1)
    return [Candidate("base", Configuration.base(base.n_layers), 0), *shapes.drawn(base, 2), bits]


def test_peft_learns_and_answers_what_the_engine_does(task: Task, candidates: list[Candidate]) -> None:
    ours, model = our_batch(task, candidates), fresh_model(task.base)
    for theirs in (peft_batch(task, model, candidates), autopeft_batch(task, candidates)):
        for mine, other in zip(ours, theirs, strict=True):
            assert mine.candidate == other.candidate
            assert mine.training == pytest.approx(other.training, abs=1e-4)
            assert mine.loss == pytest.approx(other.loss, abs=1e-4)
            assert mine.rouge_l == other.rouge_l
    assert [len(one.training) for one in ours] == [0, 3, 3, 3]


def test_the_largest_difference_of_losses_is_a_row(task: Task, candidates: list[Candidate]) -> None:
    rows = steps.measure(task, candidates[1:], 1, repeats=1, everything=True)
    assert [row.peer_name for row in rows] == [steps.PEFT, steps.AUTOPEFT, steps.ONE_BY_ONE, steps.ONE_BATCH, None]
    assert rows[-1].ours < 1e-4


def test_padding_is_measured_in_time_and_memory(task: Task, candidates: list[Candidate]) -> None:
    time_row, memory_row = steps.padding(task, candidates[1:], 1, repeats=1)
    assert (time_row.unit, memory_row.unit) == ("s a candidate-step", "MiB")


def _trainer(tried: list[list[Configuration]], loss: float) -> object:
    def train(batch: Sequence[Candidate]) -> list[Scored]:
        tried.append([candidate.configuration for candidate in batch])
        return [Scored(candidate, [loss], [loss, loss], [1.0, 2.0]) for candidate in batch]

    return train


def test_a_job_tries_its_whole_budget_and_another_can_follow_it(task: Task) -> None:
    preset = Preset("all of it initial", trials=4, initial=3, patience=4)
    tried: list[list[Configuration]] = []
    run = run_job(task, preset, _trainer(tried, 2.0))  # type: ignore[arg-type]
    assert tried == run.batches
    assert [one.candidate.key for one in run.scored] == ["0", "1", "2", "3"]
    assert run.scored[0].candidate.configuration.is_base
    given = [[Configuration.base(3), *(candidate.configuration for candidate in shapes.drawn(task.base, 3))]]
    followed: list[list[Configuration]] = []
    assert run_job(task, preset, _trainer(followed, 3.0), given).batches == given == followed  # type: ignore[arg-type]
    observations = [one.observation(task.base) for one in run.scored]
    assert stop_reason(observations, preset, 0.0, None) == "All 4 trials of the budget are done."


def test_a_whole_job_ends_where_pefts_does(base: Base) -> None:
    task, proposer = Task.of(base, of_length(history(), 20)), Proposer()
    try:
        ours = service_job(task, 4, proposer)
    finally:
        proposer.close()
    preset = Preset("four", trials=4, initial=2, patience=4)
    theirs = run_job(task, preset, partial(peft_batch, task, fresh_model(task.base)), ours.batches)
    row = agreement("job", [ours], [theirs])

    assert [len(batch) for batch in ours.batches] == [3, 1]
    assert row.what.startswith("job: largest difference from PEFT's validation loss, 4 trials with every pass")
    assert row.ours < 1e-3


def test_what_was_stopped_early_is_not_set_beside_a_loss() -> None:
    ours = ServiceJob(1.0, [[]], passes=[], losses={0: 2.0, 2: 3.5})
    scored = [Scored(Candidate(str(i), Configuration.base(3), 0), [], [loss], []) for i, loss in enumerate((2, 9, 3))]
    row = agreement("job", [ours], [JobRun(1.0, 0.0, [[]], scored)])
    assert (row.what.count("2 trials"), row.ours) == (1, 0.5)


def test_a_jobs_optimiser_steps_are_those_of_the_passes_that_its_trials_made(task: Task) -> None:
    job = ServiceJob(1.0, [[]], passes=[2, 1, 1], losses={})
    assert _optimiser_steps(replace(task, settings=replace(task.settings, epochs=4), passes=2), job) == (4 * 3, 3 * 6)
    origins = [TrialOrigin.base, TrialOrigin.initial, TrialOrigin.proposed, TrialOrigin.proposed]
    scores = [{"curve": []}, {"curve": [3.0, 2.0]}, {"curve": [3.0], "forecast": {}}, None]
    tried = [
        Trial(tenant_id="t", job_id="j", step_id=1, number=n, origin=o, layers="1", n=1, r=8, seed=0, scores=s)
        for n, (o, s) in enumerate(zip(origins, scores, strict=True))
    ]
    assert passes_made(tried) == [2, 1, 0]


def test_a_shape_is_measured_with_random_weights() -> None:
    tiny = Shape("tiny", 32, 2, 4, 2, 48, 8192, candidates=2, target=5.0)
    rows = shapes.measure(tiny, history(), 1, repeats=1, train_samples=8, device="cpu", dtype=torch.float32)
    assert [row.target for row in rows] == [5.0, None, None]
    assert rows[-1].ours < 1e-4


@pytest.mark.slow  # a whole job with a proposer of its own, a third of a minute
def test_a_whole_standard_job_of_a_shape_is_held_against_its_limit() -> None:
    tiny = Shape("tiny", 32, 2, 4, 2, 48, 8192, candidates=2, target=5.0, job_seconds=1e9)
    proposer = Proposer()
    try:
        (row,) = shapes.whole_job(tiny, history(), proposer, samples=20, trials=3, device="cpu", dtype=torch.float32)
    finally:
        proposer.close()
    assert (row.peer_name, row.peer, row.target) == (LIMIT, 1e9, 1.0)
    assert row.what == "tiny, random weights: whole standard job of 3 trials, 20 samples"
    assert shapes.whole_job(replace(tiny, job_seconds=None), history(), proposer) == []


def test_a_longer_history_is_the_persons_again_and_again() -> None:
    person = history()
    longer = of_length(person, 200).split
    samples = [*longer.train, *longer.validation, *longer.test]
    assert len({(sample.query, sample.response) for sample in samples}) == 200
    assert samples[0].query == f"{person.split.train[0].query} 0"
    assert samples[0].response == person.split.train[0].response


def test_another_history_is_read_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    person = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    file = tmp_path / "people.jsonl"
    file.write_text("\n".join(json.dumps(person | {"user_id": name}) for name in ("anna", "bert")), encoding="utf-8")
    monkeypatch.setenv("USER", "bert")
    monkeypatch.delenv("DATA", raising=False)
    assert history().user == "diabetes-patient"
    monkeypatch.setenv("DATA", str(file))
    assert history().user == "bert"
    monkeypatch.setenv("USER", "carl")
    with pytest.raises(ValueError, match="no user 'carl'"):
        history()


def test_a_tasks_steps_are_those_of_the_engine(task: Task) -> None:
    assert (task.steps, task.course.order_seed) == (3, SEED)
